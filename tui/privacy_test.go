package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// worldReports traces every case of every world of testdata.
func worldReports(t *testing.T, each func(t *testing.T, r *trace.Report)) {
	t.Helper()
	files, err := filepath.Glob("../testdata/worlds/*/*.expect.json")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d worlds, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Cases []struct {
				Name, Target, SNI, Source string
				From                      *string
				Headers, Resolve          map[string]string
				HTTPVersion               string `json:"http_version"`
			}
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		world := strings.TrimSuffix(file, ".expect.json")
		src, err := snapshot.Open(world + ".tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range doc.Cases {
			if i > 0 && testing.Short() {
				break
			}
			t.Run(filepath.Base(world)+" "+c.Name, func(t *testing.T) {
				target, err := trace.ParseTarget(c.Target)
				if err != nil {
					t.Fatal(err)
				}
				if c.From != nil {
					target.From = *c.From
				}
				for _, k := range sortedKeys(c.Headers) {
					target.Headers = append(target.Headers, trace.Header{Name: k, Value: c.Headers[k]})
				}
				target.SNI, target.Resolve, target.SourceIP, target.HTTPVersion = c.SNI, c.Resolve, c.Source, c.HTTPVersion
				r, err := (&trace.Tracer{Source: src, Version: "test"}).Trace(t.Context(), target)
				if err != nil {
					t.Fatal(err)
				}
				each(t, r)
			})
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

var (
	addressLike = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F]*`)
	hostLike    = regexp.MustCompile(`[a-zA-Z0-9][a-zA-Z0-9-]*(?:\.[a-zA-Z0-9-]+)*\.(?:com|org|net|local|io|example|test|internal)\b`)
	nodeLike    = regexp.MustCompile(`"nodeName\\*": *\\*"([^"\\]+)|nodes/([^/" ]+)/|node:([A-Za-z0-9.-]+)`)
)

// private is what a report says that must not be seen, by what it is.
func private(t *testing.T, r *trace.Report) map[string][]string {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	out := map[string][]string{}
	add := func(what, s string) {
		if s != "" && !slices.Contains(out[what], s) {
			out[what] = append(out[what], s)
		}
	}
	for _, s := range addressLike.FindAllString(text, -1) {
		if a, err := netip.ParseAddr(s); err == nil && !a.IsUnspecified() && !a.IsLoopback() {
			add("an address", s)
		}
	}
	host := func(s string) {
		name, _, _ := strings.Cut(s, ":")
		if _, err := netip.ParseAddr(name); err != nil && len(name) > 1 && !strings.Contains(name, "*") {
			add("a host", strings.TrimSuffix(name, "."))
		}
	}
	for _, s := range hostLike.FindAllString(text, -1) {
		if !strings.HasSuffix(s, "istio.io") && !strings.HasSuffix(s, "k8s.io") && !strings.HasSuffix(s, "kubernetes.io") && !strings.HasPrefix(s, "envoy.") && s != "type.googleapis.com" {
			add("a host", s)
		}
	}
	host(r.Target.Host)
	host(r.Target.SNI)
	value := func(v string) {
		// Numbers and words that are in every request are taken from headers alone.
		if len(v) > 2 && strings.Trim(v, "0123456789.") != "" && !slices.Contains([]string{"http", "https", "true", "false", "none"}, v) {
			add("the value of a header", v)
		}
	}
	for _, h := range r.Target.Headers {
		if !strings.EqualFold(h.Name, "host") {
			value(h.Value)
		}
	}
	for _, h := range r.Hops {
		for _, f := range []*trace.Flow{h.In, h.Out} {
			if f == nil {
				continue
			}
			host(f.Authority)
			host(f.SNI)
			for _, hd := range f.Headers {
				if !strings.EqualFold(hd.Name, "host") {
					value(hd.Value)
				}
			}
		}
		if h.Subject.Kind == "Node" {
			add("a node", h.Subject.Name)
		}
		for _, l := range h.Logs {
			for k, v := range l.Fields {
				if strings.HasPrefix(k, "REQ(") && !strings.Contains(k, ":") || strings.HasPrefix(k, "RESP(") {
					value(v)
				}
			}
		}
	}
	for _, found := range nodeLike.FindAllStringSubmatch(text, -1) {
		name := found[1] + found[2] + found[3]
		if _, err := netip.ParseAddr(name); err != nil {
			add("a node", name)
		}
	}
	return out
}

// TestNothingPrivateIsSeenOfAnyWorld: with privacy on, no address, host, node or
// header value of a report is in any view of it, in what is copied, exported or
// left on the screen.
func TestNothingPrivateIsSeenOfAnyWorld(t *testing.T) {
	kinds := map[string]int{}
	worldReports(t, func(t *testing.T, r *trace.Report) {
		var seen bytes.Buffer
		s := session(r)
		s.Options.Privacy = true
		s.Context = "demo"
		s.Trace = func(_ context.Context, q trace.Target, progress func(Event)) (*trace.Report, error) {
			for i := range r.Collected.Read {
				progress(Event{Reading: r.Collected.Read[i].What})
			}
			for i := range r.Hops {
				progress(Event{Hop: &r.Hops[i]})
			}
			return r, nil
		}
		s.Copy = func(_ context.Context, text string) (string, error) {
			seen.WriteString(text + "\n")
			return "test", nil
		}
		s.Export = func(_ context.Context, kind string, r *trace.Report) (string, error) {
			for _, f := range []report.Format{report.JSON, report.Markdown, report.YAML, report.Text, report.Wide, report.Name} {
				seen.WriteString(report.String(r, f))
			}
			return "x." + kind, nil
		}
		d := newDriver(t, s, 150, 70, utf8Env)
		look := func() { seen.WriteString(d.m.View().Content + d.m.View().WindowTitle + "\n") }
		look()
		d.press("E")
		for range 12 {
			look()
			d.press("tab")
		}
		d.press("esc")
		for _, k := range []string{"i", "?", "f", "B", "b", "H", ":"} {
			d.press(k)
			look()
			d.press("esc")
		}
		d.press("e", "1").press("esc")
		d.press("g")
		for k := range r.Hops {
			for _, tab := range []string{"1", "2", "3", "4", "5"} {
				d.press(tab)
				look()
			}
			if k%5 == 0 || k == len(r.Hops)-1 {
				d.press("c")
				look()
				for range 24 {
					d.press("c", "j") // copies the entry, goes to the next
				}
				d.press("esc")
			}
			d.press("j")
		}
		d.press("4", "a")
		look()
		if m := d.m.report(); m != nil {
			seen.WriteString(report.Verdict(m, report.Options{}) + report.String(m, report.Text))
		}

		text := strings.NewReplacer("<details>", "", "</details>", "").Replace(seen.String()) // Markdown's, not a host
		lower := strings.ToLower(text)
		for what, all := range private(t, r) {
			for _, s := range all {
				kinds[what]++
				at := standsIn(text, s)
				if strings.Contains(s, ".") { // a host, in whatever case
					at = standsIn(lower, strings.ToLower(s))
				}
				if at >= 0 {
					t.Errorf("%s, %q, is to be seen: %q", what, s, text[max(0, at-90):min(len(text), at+60)])
				}
			}
		}
	})
	for _, what := range []string{"an address", "a host", "a node", "the value of a header"} {
		if kinds[what] == 0 {
			t.Errorf("no world has %s", what)
		}
	}
	t.Logf("looked for %v", kinds)
}

// standsIn is where s stands in text with no letter or digit beside it, -1 for
// nowhere.
func standsIn(text, s string) int {
	word := func(i int) bool {
		return i >= 0 && i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] >= 'a' && text[i] <= 'z' || text[i] >= 'A' && text[i] <= 'Z')
	}
	for at := 0; ; {
		i := strings.Index(text[at:], s)
		if i < 0 {
			return -1
		}
		at += i
		if !word(at-1) && !word(at+len(s)) {
			return at
		}
		at++
	}
}
