package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/hoptrail/hoptrail/trace"
)

// marshalJSON writes the report as its contract has it: two blanks of
// indentation, a line feed at the end, [] where there is nothing, and what a
// terminal would act upon as \u escapes.
func marshalJSON(r *trace.Report) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(complete(r)); err != nil {
		return nil, fmt.Errorf("report: json: %w", err)
	}
	return escapeUnsafe(b.Bytes()), nil
}

// complete returns a copy of r without a nil array where the contract has one.
func complete(r *trace.Report) *trace.Report {
	c := *r
	if c.Schema == "" {
		c.Schema = trace.Schema
	}
	c.Paths = slices.Clone(c.Paths)
	fill(&c.Paths)
	for i := range c.Paths {
		fill(&c.Paths[i].Hops)
	}
	c.Hops = slices.Clone(c.Hops)
	fill(&c.Hops)
	for i := range c.Hops {
		h := &c.Hops[i]
		if h.State == "" {
			h.State = trace.Unknown
		}
		fill(&h.Checks)
		fill(&h.Evidence)
		fill(&h.Branches)
	}
	c.Findings = slices.Clone(c.Findings)
	fill(&c.Findings)
	for i := range c.Findings {
		fill(&c.Findings[i].Evidence)
		fill(&c.Findings[i].CauseOf)
		fill(&c.Findings[i].Fix)
	}
	if c.Verdict == "" {
		c.Verdict = trace.Undetermined
	}
	fill(&c.Collected.Read)
	fill(&c.Collected.NotRead)
	return &c
}

func fill[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}

// unsafe says whether a terminal may act upon r, or show it as nothing.
func unsafe(r rune) bool {
	return r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// escapeUnsafe replaces unsafe characters of a JSON text by \u escapes. JSON
// allows them inside strings only, where the escape means the same.
func escapeUnsafe(text []byte) []byte {
	out := text[:0:0]
	from := 0
	for i := 0; i < len(text); {
		if text[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if unsafe(r) {
			out = append(out, text[from:i]...)
			out = appendEscape(out, r)
			from = i + n
		}
		i += n
	}
	if from == 0 {
		return text
	}
	return append(out, text[from:]...)
}

func appendEscape(b []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		return fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return fmt.Appendf(b, `\u%04x`, r)
}

// marshalYAML writes the same document as [marshalJSON] as YAML, in the same
// order of keys.
func marshalYAML(r *trace.Report) ([]byte, error) {
	text, err := marshalJSON(r)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return nil, fmt.Errorf("report: yaml: %w", err)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return nil, fmt.Errorf("report: yaml: %w", err)
	}
	return escapeUnsafeYAML(b.Bytes()), nil
}

// yamlNode reads one JSON value as a YAML node, which keeps its keys in order.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if v == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for dec.More() {
			if v == '{' {
				key, err := dec.Token()
				if err != nil {
					return nil, err
				}
				n.Content = append(n.Content, yamlString(key.(string)))
			}
			child, err := yamlNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle // [] and {}
		}
		_, err := dec.Token()
		return n, err
	case string:
		return yamlString(v), nil
	default:
		n := &yaml.Node{}
		if num, ok := v.(json.Number); ok {
			n.Kind, n.Value, n.Tag = yaml.ScalarNode, num.String(), "!!int"
			if bytes.ContainsAny([]byte(n.Value), ".eE") {
				n.Tag = "!!float"
			}
			return n, nil
		}
		return n, n.Encode(v)
	}
}

// booleans11 are the words that YAML 1.1, which many readers still speak, takes for
// true or false (yaml.org/type/bool.html).
var booleans11 = []string{"y", "n", "yes", "no", "on", "off", "true", "false"}

func yamlString(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	for _, r := range s {
		if unsafe(r) {
			n.Style = yaml.DoubleQuotedStyle // where an escape is an escape
		}
	}
	if slices.Contains(booleans11, strings.ToLower(s)) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// escapeUnsafeYAML does for YAML what escapeUnsafe does for JSON: unsafe
// characters stand in double quotes only (see yamlString).
func escapeUnsafeYAML(text []byte) []byte {
	var out []byte
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case !unsafe(r):
			out = append(out, text[:n]...)
		case r > 0xffff:
			out = fmt.Appendf(out, `\U%08X`, r)
		default:
			out = fmt.Appendf(out, `\u%04X`, r)
		}
		text = text[n:]
	}
	return out
}
