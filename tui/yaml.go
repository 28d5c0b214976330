package tui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxConfigLines bounds what is shown of one configuration object. The whole is
// in the JSON export.
const maxConfigLines = 4000

// yamlLines writes a JSON document as YAML, in the document's order. It stops
// after limit lines and then says so. What is not JSON comes back as one line.
func yamlLines(raw json.RawMessage, limit int) []string {
	w := yamlWriter{dec: json.NewDecoder(bytes.NewReader(raw)), limit: limit}
	w.dec.UseNumber()
	if err := w.value("", 0, false); err != nil && !w.full() {
		if len(w.lines) == 0 {
			return []string{string(raw)}
		}
		w.lines = append(w.lines, "# not JSON from here on")
	}
	if w.full() {
		w.lines = append(w.lines[:limit], fmt.Sprintf("# cut after %d lines; the JSON export has all %d bytes", limit, len(raw)))
	}
	return w.lines
}

type yamlWriter struct {
	dec   *json.Decoder
	lines []string
	limit int
}

func (w *yamlWriter) full() bool { return len(w.lines) > w.limit }

// value writes the next value. prefix is what stands before it on its line
// ("key:" or "-"), depth the indentation of what hangs below.
func (w *yamlWriter) value(prefix string, depth int, inList bool) error {
	if w.full() || depth > 200 {
		return fmt.Errorf("cut")
	}
	tok, err := w.dec.Token()
	if err != nil {
		return err
	}
	sp := ""
	if prefix != "" {
		sp = " "
	}
	d, ok := tok.(json.Delim)
	if !ok {
		w.scalar(prefix, sp, depth, tok)
		return nil
	}
	if !w.dec.More() {
		_, err = w.dec.Token()
		w.lines = append(w.lines, prefix+sp+map[json.Delim]string{'{': "{}", '[': "[]"}[d])
		return err
	}
	ind := strings.Repeat("  ", depth)
	first := inList // the first member stands on the line of its dash
	if prefix != "" && !inList {
		w.lines = append(w.lines, prefix)
	}
	for w.dec.More() {
		lead := ind
		if first {
			lead, first = prefix+" ", false
		}
		if d == '[' {
			if err := w.value(lead+"-", depth+1, true); err != nil {
				return err
			}
			continue
		}
		key, err := w.dec.Token()
		if err != nil {
			return err
		}
		k, _ := key.(string)
		if err := w.value(lead+yamlString(k)+":", depth+1, false); err != nil {
			return err
		}
	}
	_, err = w.dec.Token()
	return err
}

func (w *yamlWriter) scalar(prefix, sp string, depth int, tok json.Token) {
	switch v := tok.(type) {
	case string:
		if strings.Contains(v, "\n") && !strings.HasPrefix(v, " ") && !strings.HasPrefix(v, "\n") {
			mark := "|-"
			if strings.HasSuffix(v, "\n") {
				mark, v = "|", strings.TrimSuffix(v, "\n")
			}
			w.lines = append(w.lines, prefix+sp+mark)
			for line := range strings.SplitSeq(v, "\n") {
				if w.full() {
					return
				}
				w.lines = append(w.lines, strings.Repeat("  ", depth)+line)
			}
			return
		}
		w.lines = append(w.lines, prefix+sp+yamlString(v))
	case nil:
		w.lines = append(w.lines, prefix+sp+"null")
	default:
		w.lines = append(w.lines, prefix+sp+fmt.Sprint(v))
	}
}

// yamlString quotes a string where YAML would read something else.
func yamlString(s string) string {
	plain := s != "" && strings.TrimSpace(s) == s
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "~", "y", "n":
		plain = false
	}
	if plain {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			plain = false
		}
		if strings.ContainsAny(s[:1], "!&*-?{}[],#|>@`\"'%:=") || strings.Contains(s, ": ") || strings.Contains(s, " #") ||
			strings.HasSuffix(s, ":") || strings.ContainsAny(s, "\n\r\t\x00") || strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0o") {
			plain = false
		}
		if s[0] >= '0' && s[0] <= '9' && strings.Trim(s, "0123456789:-.TZ") == "" {
			plain = false
		}
	}
	if plain {
		return s
	}
	b, err := json.Marshal(s)
	if err != nil {
		return strconv.Quote(s)
	}
	return string(b)
}

// jsonLines indents a JSON document, at most limit lines of it.
func jsonLines(raw json.RawMessage, limit int) []string {
	var b bytes.Buffer
	src := raw
	if len(src) > 2<<20 {
		return append(strings.Split(string(src[:64<<10]), "\n"), fmt.Sprintf("# cut; the JSON export has all %d bytes", len(raw)))
	}
	if err := json.Indent(&b, src, "", "  "); err != nil {
		return []string{string(raw)}
	}
	lines := strings.Split(b.String(), "\n")
	if len(lines) > limit {
		lines = append(lines[:limit], fmt.Sprintf("# cut after %d lines; the JSON export has all %d bytes", limit, len(raw)))
	}
	return lines
}
