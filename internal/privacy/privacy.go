// Package privacy takes what identifies a platform, and what must stay secret,
// out of a report before it is shown to others.
//
// It knows how an address, a host name, a header value and a credential look in
// the texts a report holds. It must not know who shows the report. Masking errs
// on the side of taking away too much: a dotted word that is no host loses its
// name, too.
//
// A [Masker] gives the same thing the same name (ip-3, host-1) for as long as it
// lives, so a masked path can still be followed from hop to hop.
package privacy

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/hoptrail/hoptrail/trace"
)

// Masked stands for a value that was taken away.
const Masked = "***"

// maxLearned bounds the literal values a Masker remembers of one report.
const maxLearned = 512

// Masker replaces addresses, hosts and header values. It is safe for concurrent
// use. The zero value is ready.
type Masker struct {
	mu      sync.Mutex
	names   map[string]string // address or host to its stand-in
	ips     int
	hosts   int
	literal map[string]string // header values and single-label hosts
	repl    *strings.Replacer
}

// Text returns s with every address, host name and learned value replaced, and
// without credentials.
func (m *Masker) Text(s string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text(s)
}

// Target returns t masked, as [Masker.Report] masks it.
func (m *Masker) Target(t trace.Target) trace.Target {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnTarget(t)
	return walkTarget(t, m.text, func(trace.Header) string { return Masked })
}

// Hop returns a masked copy of h. What only a whole report tells (the values of
// headers that another hop names) is known after a [Masker.Report].
func (m *Masker) Hop(h trace.Hop) trace.Hop {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnHop(h)
	return m.walker().hop(h)
}

// Line returns a masked copy of l.
func (m *Masker) Line(l trace.LogLine) trace.LogLine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.walker().line(l)
}

// Report returns a copy of r in which addresses, hosts, header values and
// credentials are masked everywhere: in excerpts, raw log lines and configuration
// too. Ids, codes, states and numbers stay.
func (m *Masker) Report(r *trace.Report) *trace.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnTarget(r.Target)
	for _, h := range r.Hops {
		m.learnHop(h)
	}
	return m.walker().report(r)
}

// Secrets returns r without credentials: bearer tokens, cookies, authorization
// values, private keys. r itself is not changed; parts without any are shared.
func Secrets(r *trace.Report) *trace.Report { return secretsWalker.report(r) }

// SecretsHop is [Secrets] for one hop.
func SecretsHop(h trace.Hop) trace.Hop { return secretsWalker.hop(h) }

// SecretsLine is [Secrets] for one access log line.
func SecretsLine(l trace.LogLine) trace.LogLine { return secretsWalker.line(l) }

// SecretsTarget is [Secrets] for a target.
func SecretsTarget(t trace.Target) trace.Target {
	return walkTarget(t, SecretText, secretsWalker.header)
}

// secretHeader says whether the value of a header is always a secret.
func secretHeader(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key",
		"x-auth-token", "x-access-token", "x-amz-security-token", "x-goog-iam-authorization-token",
		"x-csrf-token", "x-xsrf-token", "x-vault-token":
		return true
	}
	return strings.Contains(name, "secret") || strings.Contains(name, "password")
}

var secretsWalker = walker{
	text: SecretText,
	header: func(h trace.Header) string {
		if secretHeader(h.Name) {
			return Masked
		}
		return SecretText(h.Value)
	},
	field: func(name, value string) (string, bool) {
		h, ok := fieldHeader(name)
		return Masked, ok && secretHeader(h) && value != "-" && value != ""
	},
}

func (m *Masker) walker() walker {
	return walker{text: m.text, header: func(trace.Header) string { return Masked }, field: headerField, quoted: true}
}

// headerField says whether a field of an access log is a header's, pseudo-headers
// aside.
func headerField(name, value string) (string, bool) {
	h, ok := fieldHeader(name)
	return Masked, ok && !strings.HasPrefix(h, ":") && value != "-" && value != ""
}

// fieldHeader returns the header that an access log operator prints:
// REQ(X-REQUEST-ID), REQ(X-ENVOY-ORIGINAL-PATH?:PATH), RESP(...). Of two names
// the second decides: it is what is printed in the end.
func fieldHeader(op string) (string, bool) {
	kind, rest, ok := strings.Cut(op, "(")
	if !ok || kind != "REQ" && kind != "RESP" && kind != "TRAILER" {
		return "", false
	}
	rest, _, _ = strings.Cut(rest, ")")
	if _, alt, ok := strings.Cut(rest, "?"); ok {
		rest = alt
	}
	return strings.ToLower(rest), true
}

func (m *Masker) learnTarget(t trace.Target) {
	m.learnHost(t.Host)
	m.learnHost(t.SNI)
	for _, h := range t.Headers {
		m.learnValue(h.Value)
	}
}

func (m *Masker) learnHop(h trace.Hop) {
	for _, f := range []*trace.Flow{h.In, h.Out} {
		if f == nil {
			continue
		}
		m.learnHost(f.Authority)
		m.learnHost(f.SNI)
		for _, hd := range f.Headers {
			if !strings.EqualFold(hd.Name, "host") {
				m.learnValue(hd.Value)
			}
		}
	}
	for _, l := range h.Logs {
		if !l.Traced {
			continue
		}
		for name, v := range l.Fields {
			if _, gone := headerField(name, v); gone {
				m.learnValue(v)
			}
		}
		for _, v := range quotedValues(l, headerField) {
			m.learnValue(v)
		}
	}
}

func (m *Masker) learnHost(h string) {
	if i := strings.LastIndexByte(h, ':'); i > 0 && strings.IndexByte(h, ':') == i {
		h = h[:i]
	}
	h = strings.TrimSuffix(h, ".")
	if len(h) < 2 || strings.Contains(h, ":") {
		return
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return
	}
	if !strings.Contains(h, ".") || !hostShaped(h) {
		m.learn(h, m.name(h, false))
	}
}

func (m *Masker) learnValue(v string) {
	if len(v) >= 4 && v != Masked {
		m.learn(v, Masked)
	}
}

func (m *Masker) learn(literal, stand string) {
	if m.literal == nil {
		m.literal = map[string]string{}
	}
	if _, ok := m.literal[literal]; ok || len(m.literal) >= maxLearned {
		return
	}
	m.literal[literal] = stand
	m.repl = nil
}

func (m *Masker) replacer() *strings.Replacer {
	if m.repl == nil {
		keys := slices.SortedFunc(maps.Keys(m.literal), func(a, b string) int {
			if len(a) != len(b) {
				return len(b) - len(a)
			}
			return strings.Compare(a, b)
		})
		var pairs []string
		for _, k := range keys {
			pairs = append(pairs, k, m.literal[k])
		}
		m.repl = strings.NewReplacer(pairs...)
	}
	return m.repl
}

func (m *Masker) name(s string, ip bool) string {
	if m.names == nil {
		m.names = map[string]string{}
	}
	s = strings.ToLower(s)
	if n, ok := m.names[s]; ok {
		return n
	}
	var n string
	if ip {
		m.ips++
		n = "ip-" + strconv.Itoa(m.ips)
	} else {
		m.hosts++
		n = "host-" + strconv.Itoa(m.hosts)
	}
	m.names[s] = n
	return n
}

func (m *Masker) text(s string) string {
	s = SecretText(s)
	if len(m.literal) > 0 {
		s = m.replacer().Replace(s)
	}
	var b strings.Builder
	last := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !tokenRune(r) && r != ':' {
			i += n
			continue
		}
		j := i
		for j < len(s) {
			r, n := utf8.DecodeRuneInString(s[j:])
			if !tokenRune(r) && r != ':' {
				break
			}
			j += n
		}
		if out, changed := m.token(s[i:j]); changed {
			b.WriteString(s[last:i])
			b.WriteString(out)
			last = j
		}
		i = j
	}
	if last == 0 {
		return s
	}
	b.WriteString(s[last:])
	return b.String()
}

func tokenRune(r rune) bool {
	return r == '.' || r == '-' || r == '_' || r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// token masks one run of letters, digits, dots, dashes, underscores and colons.
func (m *Masker) token(tok string) (string, bool) {
	if strings.Count(tok, ":") >= 2 {
		if out, ok := m.addr(tok); ok {
			return out, true
		}
		// [v6]:port loses its brackets to the tokenizer; v6:port is not written.
	}
	if strings.ContainsAny(tok, ":_") {
		var b strings.Builder
		changed := false
		for len(tok) > 0 {
			i := strings.IndexAny(tok, ":_")
			part, sep := tok, ""
			if i >= 0 {
				part, sep, tok = tok[:i], tok[i:i+1], tok[i+1:]
			} else {
				tok = ""
			}
			out, c := m.word(part)
			changed = changed || c
			b.WriteString(out + sep)
		}
		return b.String(), changed
	}
	return m.word(tok)
}

func (m *Masker) word(w string) (string, bool) {
	if len(w) < 3 {
		return w, false
	}
	trimmed := strings.Trim(w, ".-")
	if out, ok := m.addr(trimmed); ok {
		return strings.Replace(w, trimmed, out, 1), true
	}
	if hostShaped(trimmed) {
		return strings.Replace(w, trimmed, m.name(trimmed, false), 1), true
	}
	if out, ok := m.dashed(w); ok {
		return out, true
	}
	return w, false
}

// addr masks an address. Those that say nothing about a platform stay: the
// unspecified and the loopback ones.
func (m *Masker) addr(s string) (string, bool) {
	if strings.Count(s, ".") != 3 && strings.Count(s, ":") < 2 {
		return s, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.IsUnspecified() || a.IsLoopback() {
		return s, false
	}
	return m.name(a.String(), true), true
}

// dashed masks an IPv4 address written with dashes inside a name, as cloud nodes
// and Pods' DNS names carry it.
func (m *Masker) dashed(w string) (string, bool) {
	parts := strings.Split(w, "-")
	for i := 0; i+4 <= len(parts); i++ {
		four := strings.Join(parts[i:i+4], ".")
		if a, err := netip.ParseAddr(four); err == nil && a.Is4() {
			out := append(slices.Clone(parts[:i]), m.name(a.String(), true))
			return strings.Join(append(out, parts[i+4:]...), "-"), true
		}
	}
	return w, false
}

// hostShaped says whether a dotted word may be a host name. File names, API
// groups and the names of Envoy's extensions are not.
func hostShaped(s string) bool {
	i := strings.LastIndexByte(s, '.')
	if i <= 0 || i == len(s)-1 {
		return false
	}
	lower := strings.ToLower(s)
	for _, p := range []string{"envoy.", "type.googleapis.com", "istio_authn.", "hoptrail."} {
		if strings.HasPrefix(lower, p) {
			return false
		}
	}
	for _, p := range []string{".istio.io", ".k8s.io", ".kubernetes.io"} {
		if strings.HasSuffix(lower, p) {
			return false
		}
	}
	last := lower[i+1:]
	switch last {
	case "json", "txt", "log", "yaml", "yml", "md", "gz", "pem", "sock", "conf", "cfg", "wasm", "lua", "go", "cc", "proto":
		return false
	}
	letters := 0
	for _, r := range last {
		if !unicode.IsLetter(r) && r != '-' && !(letters > 0 && unicode.IsDigit(r)) {
			return false
		}
		if unicode.IsLetter(r) {
			letters++
		}
	}
	if letters < 2 && !(letters == 1 && last[0] >= utf8.RuneSelf) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
	}
	return true
}

// SecretText returns s without credentials.
func SecretText(s string) string {
	if len(s) < 8 || !mayHoldSecret(s) {
		return s
	}
	s = afterWord(s, "bearer ", secretByte)
	s = afterWord(s, "basic ", secretByte)
	for _, h := range []string{"authorization", "cookie"} {
		s = afterHeader(s, h)
	}
	s = jwts(s)
	return privateKeys(s)
}

func mayHoldSecret(s string) bool {
	return strings.Contains(s, "earer ") || strings.Contains(s, "EARER ") || strings.Contains(s, "asic ") || strings.Contains(s, "eyJ") ||
		strings.Contains(s, "PRIVATE KEY") || strings.Contains(s, "uthorization") || strings.Contains(s, "UTHORIZATION") ||
		strings.Contains(s, "ookie") || strings.Contains(s, "OOKIE")
}

func secretByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/=", c) >= 0
}

// indexFold is the offset of the ASCII word w in s from at on, whatever its case.
func indexFold(s, w string, at int) int {
	for i := at; i+len(w) <= len(s); i++ {
		if s[i]|0x20 == w[0]|0x20 && strings.EqualFold(s[i:i+len(w)], w) {
			return i
		}
	}
	return -1
}

func afterWord(s, w string, keep func(byte) bool) string {
	for at := 0; ; {
		i := indexFold(s, w, at)
		if i < 0 {
			return s
		}
		i += len(w)
		j := i
		for j < len(s) && keep(s[j]) {
			j++
		}
		if j-i >= 6 { // "basic auth" is no credential
			s = s[:i] + Masked + s[j:]
			j = i + len(Masked)
		}
		at = j
	}
}

// afterHeader masks what follows `name:` or `name=` (and quotes around either)
// to the end of the line or the closing quote.
func afterHeader(s, name string) string {
	for at := 0; ; {
		i := indexFold(s, name, at)
		if i < 0 {
			return s
		}
		j := i + len(name)
		at = j
		if j < len(s) && (s[j] == '"' || s[j] == '\'') {
			j++
		}
		if j >= len(s) || s[j] != ':' && s[j] != '=' {
			continue
		}
		j++
		for j < len(s) && s[j] == ' ' {
			j++
		}
		stop := "\n\r\"'"
		if j < len(s) && (s[j] == '"' || s[j] == '\'') {
			stop = s[j:j+1] + "\n"
			j++
		}
		k := strings.IndexAny(s[j:], stop)
		if k < 0 {
			k = len(s) - j
		}
		if k > 0 {
			s = s[:j] + Masked + s[j+k:]
		}
		at = j
	}
}

func jwts(s string) string {
	for at := 0; ; {
		i := strings.Index(s[at:], "eyJ")
		if i < 0 {
			return s
		}
		i += at
		j := i
		for j < len(s) && secretByte(s[j]) {
			j++
		}
		if strings.Count(s[i:j], ".") >= 2 && j-i > 20 {
			s = s[:i] + Masked + s[j:]
			j = i + len(Masked)
		}
		at = j
	}
}

func privateKeys(s string) string {
	const key = "PRIVATE KEY-----"
	for at := 0; ; {
		i := strings.Index(s[at:], key)
		if i < 0 {
			return s
		}
		i += at + len(key)
		j := strings.Index(s[i:], "-----END")
		if j < 0 {
			return s[:i] + Masked
		}
		s = s[:i] + Masked + s[i+j:]
		k := strings.Index(s[i:], key)
		if k < 0 {
			return s
		}
		at = i + k + len(key)
	}
}

// maskJSON masks every string of a JSON document, names of members included, and
// keeps the order.
func maskJSON(raw json.RawMessage, text func(string) string) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out bytes.Buffer
	type level struct {
		object bool
		n      int
	}
	var stack []level
	changed := false
	secret := false // the member's value is a credential by its name
	for {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			out.WriteByte(byte(d))
			stack = stack[:len(stack)-1]
			continue
		}
		isKey := false
		if len(stack) > 0 {
			top := &stack[len(stack)-1]
			switch {
			case top.object && top.n%2 == 1:
				out.WriteByte(':')
			case top.n > 0:
				out.WriteByte(',')
			}
			isKey = top.object && top.n%2 == 0
			top.n++
		}
		switch v := tok.(type) {
		case json.Delim:
			out.WriteByte(byte(v))
			stack = append(stack, level{object: v == '{'})
			secret = false
		case string:
			masked := text(v)
			if isKey {
				secret = secretHeader(v)
			} else if secret && v != "" {
				masked = Masked
			}
			changed = changed || masked != v
			s, _ := json.Marshal(masked)
			out.Write(s)
		default:
			s, err := json.Marshal(v)
			if err != nil {
				return json.RawMessage(`"` + Masked + `"`)
			}
			out.Write(s)
		}
	}
	if !changed {
		return raw
	}
	if !json.Valid(out.Bytes()) { // not JSON to begin with
		s, _ := json.Marshal(text(string(raw)))
		return s
	}
	return out.Bytes()
}
