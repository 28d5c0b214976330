package accesslog

import (
	"bytes"
	"strings"
)

// maxPrefix bounds what a collector puts before a line.
const maxPrefix = 1024

// unwrapped is a line without what a collector put around it.
type unwrapped struct {
	body    string
	prefix  string
	partial bool // a CRI line that goes on in the next one
}

// unwrap takes off what is known for certain by its form: colours, Docker's
// JSON, CRI's fields, byte order marks.
//
//	{"log":"TEXT\n","stream":"stdout","time":"..."}      Docker's json-file, collectors
//	2025-01-30T12:10:13.682034460Z stdout F TEXT         CRI (containerd, CRI-O)
func unwrap(line string) unwrapped {
	line = strings.TrimPrefix(line, "\ufeff")
	if strings.Contains(line, "\x1b[") {
		line = stripColours(line)
	}
	u := unwrapped{body: line}
	if key, inner, ok := carried(line); ok {
		u.prefix, u.body = `{"`+key+`":"`, inner
		return u
	}
	if stamp, rest, ok := strings.Cut(line, " "); ok && isTime(stamp) {
		for _, stream := range [...]string{"stdout ", "stderr "} {
			after, ok := strings.CutPrefix(rest, stream)
			if !ok {
				continue
			}
			tag, body, ok := strings.Cut(after, " ")
			if ok && (tag == "F" || tag == "P" || strings.HasPrefix(tag, "F:") || strings.HasPrefix(tag, "P:")) {
				return unwrapped{body: body, prefix: line[:len(line)-len(body)], partial: tag[0] == 'P'}
			}
		}
	}
	return u
}

// carried is the line that a collector put into a JSON object of its own, under
// log (Docker, Fluent Bit) or message (Logstash and others), at any depth.
func carried(line string) (key, inner string, ok bool) {
	if !strings.HasPrefix(line, "{") || !strings.Contains(line, `log"`) && !strings.Contains(line, `message"`) {
		return "", "", false
	}
	docker := strings.Contains(line, `"stream":"std`)
	err := scanJSON(line, nil, func(path []byte, kind jsonKind, v string) bool {
		name := string(path[bytes.LastIndexByte(path, '.')+1:])
		if kind == jsonString && (name == "log" || name == "message") && (docker || beginsRecord(v) || strings.HasPrefix(v, "{")) {
			key, inner = name, strings.TrimRight(v, "\r\n")
			return false
		}
		return true
	})
	return key, inner, err == nil && inner != ""
}

// stripColours takes the SGR and other CSI sequences out.
func stripColours(s string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+2:]
		j := 0
		for j < len(s) && (s[j] < 0x40 || s[j] > 0x7e) {
			j++
		}
		s = s[min(j+1, len(s)):]
	}
}

// starts lists where in the body the access line may begin, the likeliest
// first: at its beginning, behind one or more prefixes of known form, and where
// the first bracketed time, brace or quote stands.
//
//	[pod/NAME/CONTAINER] TEXT        kubectl logs --prefix
//	2025-01-30T12:10:13.68Z TEXT     kubectl logs --timestamps, docker-compose -t
//	NAME  | TEXT                     docker-compose
//	POD CONTAINER TEXT               stern
//	Nov 20 15:17:00 HOST envoy[1]: TEXT
func starts(body string, into []int) []int {
	into = append(into[:0], 0)
	add := func(at int) {
		if at <= 0 || at > maxPrefix || at >= len(body) {
			return
		}
		for _, old := range into {
			if old == at {
				return
			}
		}
		into = append(into, at)
	}
	at := 0
	for range 4 {
		rest := body[at:]
		n := len(rest) - len(strings.TrimLeft(rest, " \t>"))
		if n == 0 {
			n = prefixLen(rest)
		}
		if n == 0 {
			break
		}
		at += n
		add(at)
	}
	head := body[:min(len(body), maxPrefix)]
	if i := bracketedTime(head); i > 0 {
		add(i)
	}
	if i := strings.IndexByte(head, '{'); i > 0 && (head[i-1] == ' ' || head[i-1] == '\t') {
		add(i)
	}
	if i := strings.Index(head, ` "`); i > 0 {
		add(i + 1)
	}
	// stern: one to three names before the line
	at = 0
	for range 3 {
		i := strings.IndexByte(head[at:], ' ')
		if i <= 0 || !isName(head[at:at+i]) {
			break
		}
		at += i + 1
		add(at)
	}
	return into
}

// prefixLen is the length of one collector's prefix at the start of s.
func prefixLen(s string) int {
	if strings.HasPrefix(s, "[pod/") {
		if i := strings.Index(s, "] "); i > 0 && i < 300 {
			return i + 2
		}
	}
	word, _, ok := strings.Cut(s[:min(len(s), maxPrefix)], " ")
	if !ok {
		return 0
	}
	if isTime(word) {
		return len(word) + 1
	}
	if i := strings.Index(s[:min(len(s), 200)], "| "); i > 0 && isName(strings.TrimRight(s[:i], " ")) {
		return i + 2
	}
	if i := strings.Index(s[:min(len(s), 200)], "]: "); i > 0 && len(word) == 3 && letter(word[0]) {
		return i + 3
	}
	return 0
}

// isName says whether s can be the name of a Pod, a container or a compose
// service.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		if b := s[i]; !letter(b) && !digit(b) && b != '-' && b != '_' && b != '.' && b != '/' {
			return false
		}
	}
	return true
}

// bracketedTime is where "[2025-01-30T" or the like first stands, or -1.
func bracketedTime(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '[')
		if i < 0 {
			return -1
		}
		i += from
		rest := s[i+1:]
		if len(rest) > 10 && digit(rest[0]) && digit(rest[3]) && rest[4] == '-' && rest[7] == '-' {
			return i
		}
		from = i + 1
	}
}
