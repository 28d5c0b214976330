package tui

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/trace"
)

// formField is one line of the form that edits the question.
type formField struct {
	name  string
	in    *input
	hint  string
	offer []string // what ctrl+n steps through
	own   bool     // typed here: shown as it is
}

// form edits the question in place.
type form struct {
	fields []formField
	cur    int
	err    string
	top    int
	cert   bool // the client's certificate is not edited, and kept
}

// Places of the fields that are not headers.
const (
	fieldURL = iota
	fieldMethod
	fieldFrom
	fieldSNI
	fieldSource
	fieldHTTP
	fieldResolve
	fieldHeaders // the first of the headers; one empty line follows them
)

// newForm edits t. The report offers vantages, nil offers none.
func newForm(t trace.Target, r *trace.Report) *form {
	f := &form{cert: t.ClientCert}
	add := func(name, value, hint string, offer ...string) {
		f.fields = append(f.fields, formField{name: name, in: newInput(value), hint: hint, offer: offer})
	}
	add("URL", t.Raw, "http(s)://host/path, grpc://, tcp://host:port, IP:port")
	add("Method", t.Method, "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
	add("From", t.From, "external, node:NAME, pod:NS/NAME", vantages(r)...)
	add("SNI", t.SNI, "the host")
	add("Source IP", t.SourceIP, "IP or IP:port of the client")
	add("HTTP", t.HTTPVersion, "1.0, 1.1 or 2", "1.1", "2", "1.0")
	var res []string
	for k, v := range t.Resolve {
		res = append(res, k+":"+v)
	}
	slices.Sort(res)
	add("Resolve", strings.Join(res, " "), "HOST:PORT:ADDR, as curl's")
	for _, h := range t.Headers {
		add("Header", h.Name+": "+h.Value, "name: value")
	}
	add("Header", "", "name: value")
	return f
}

// vantages are the places of the last report a request could be sent from.
func vantages(r *trace.Report) []string {
	out := []string{"external"}
	if r == nil {
		return out
	}
	for i := range r.Hops {
		h := &r.Hops[i]
		v := ""
		switch {
		case h.Kind == trace.KindNode && h.Subject.Name != "":
			v = "node:" + h.Subject.Name
		case strings.EqualFold(h.Subject.Kind, "Pod") && h.Subject.Namespace != "":
			v = "pod:" + h.Subject.Namespace + "/" + h.Subject.Name
		}
		if v = clean(v); v != "" && !slices.Contains(out, v) && len(out) < 40 {
			out = append(out, v)
		}
	}
	return out
}

// target reads the form. The error names the field and moves to it.
func (f *form) target() (trace.Target, error) {
	get := func(i int) string { return strings.TrimSpace(f.fields[i].in.text) }
	fail := func(i int, format string, args ...any) (trace.Target, error) {
		f.cur = i
		return trace.Target{}, fmt.Errorf(format, args...)
	}
	t, err := trace.ParseTarget(get(fieldURL))
	if err != nil {
		return fail(fieldURL, "%v", err)
	}
	if m := get(fieldMethod); m != "" && t.HTTP() {
		if strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") != "" {
			return fail(fieldMethod, "method %q is not a word", m)
		}
		t.Method = strings.ToUpper(m)
	}
	switch from := get(fieldFrom); {
	case from == "":
	case from == "external", strings.HasPrefix(from, "node:") && len(from) > 5:
		t.From = from
	case strings.HasPrefix(from, "pod:"):
		ns, name, ok := strings.Cut(from[4:], "/")
		if !ok || ns == "" || name == "" {
			return fail(fieldFrom, "from %q is not pod:NAMESPACE/NAME", from)
		}
		t.From = from
	default:
		return fail(fieldFrom, "from %q is none of external, node:NAME, pod:NAMESPACE/NAME", from)
	}
	t.SNI = get(fieldSNI)
	t.ClientCert = f.cert && t.TLS()
	if src := get(fieldSource); src != "" {
		_, err1 := netip.ParseAddr(src)
		_, err2 := netip.ParseAddrPort(src)
		if err1 != nil && err2 != nil {
			return fail(fieldSource, "source %q is neither IP nor IP:port", src)
		}
		t.SourceIP = src
	}
	switch v := get(fieldHTTP); v {
	case "", "1.0", "1.1", "2":
		t.HTTPVersion = v
	default:
		return fail(fieldHTTP, "HTTP version %q is none of 1.0, 1.1, 2", v)
	}
	for _, r := range strings.Fields(get(fieldResolve)) {
		host, rest, ok := strings.Cut(r, ":")
		port, addr, ok2 := strings.Cut(rest, ":")
		if !ok || !ok2 || host == "" || port == "" || addr == "" {
			return fail(fieldResolve, "resolve %q is not HOST:PORT:ADDR", r)
		}
		if t.Resolve == nil {
			t.Resolve = map[string]string{}
		}
		t.Resolve[host+":"+port] = addr
	}
	for i := fieldHeaders; i < len(f.fields); i++ {
		h := get(i)
		if h == "" {
			continue
		}
		at := 0
		if strings.HasPrefix(h, ":") { // a pseudo-header
			at = 1
		}
		j := strings.IndexByte(h[at:], ':')
		if j <= 0 || strings.ContainsAny(h[:at+j], " \t") {
			return fail(i, "header %q is not name: value", h)
		}
		t.Headers = append(t.Headers, trace.Header{Name: h[:at+j], Value: strings.TrimSpace(h[at+j+1:])})
	}
	return t, nil
}

// shown is what stands in field i: what may not be seen is masked until it is
// typed anew.
func (f *form) shown(m *model, i int) (text string, hidden bool) {
	fd := &f.fields[i]
	raw := fd.in.text
	if fd.own || raw == "" {
		return raw, false
	}
	switch name, value, ok := strings.Cut(raw, ": "); {
	case fd.name == "Header" && ok:
		t := m.shownTarget(trace.Target{Headers: []trace.Header{{Name: name, Value: value}}})
		text = clean(name + ": " + t.Headers[0].Value)
	case m.privacy:
		text = clean(m.masker.Text(raw))
	default:
		text = raw
	}
	return text, text != raw
}

// reveal empties the field under the cursor if what stands there is masked: it
// is replaced by what is typed.
func (f *form) reveal(m *model) {
	if _, hidden := f.shown(m, f.cur); hidden {
		f.fields[f.cur].in = newInput("")
	}
	f.fields[f.cur].own = true
}

// move goes to another field.
func (f *form) move(by int) {
	f.cur = (f.cur + by + len(f.fields)) % len(f.fields)
}

// grow keeps one empty header at the end.
func (f *form) grow() {
	last := &f.fields[len(f.fields)-1]
	if strings.TrimSpace(last.in.text) != "" && len(f.fields) < fieldHeaders+64 {
		f.fields = append(f.fields, formField{name: "Header", in: newInput(""), hint: "name: value"})
	}
}

// next puts the next offered value into the field.
func (f *form) offer(by int) {
	fd := &f.fields[f.cur]
	if len(fd.offer) == 0 {
		return
	}
	i := slices.Index(fd.offer, fd.in.text)
	if i < 0 && by < 0 {
		i = 0
	}
	fd.own = false
	fd.in = newInput(fd.offer[(i+by+len(fd.offer))%len(fd.offer)])
}
