package snapshot

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/trace"
)

// redacted stands where a secret stood.
const redacted = "REDACTED"

// Redact returns a source that gives what src gives without what must be kept
// secret:
//
//   - values of Secrets, and of ConfigMaps but for the mesh's own;
//   - private keys, bearer and JSON web tokens, passwords in URLs and parameters;
//   - values of headers, environment variables and fields that by their name hold
//     a credential (authorization, cookie, *PASSWORD*, *TOKEN* ...);
//   - the annotation in which kubectl keeps a whole object a second time.
//
// It is to stand before the walk, so that what is traced, shown and recorded is
// the same. A list in YAML becomes JSON. Redacting twice changes nothing more,
// and data in which nothing is secret is passed on as it is.
func Redact(src trace.Source) trace.Source {
	return &redactor{src: src, done: map[redactKey][]byte{}}
}

type redactor struct {
	src trace.Source

	mu   sync.Mutex
	done map[redactKey][]byte // so that the same bytes stay the same bytes
}

type redactKey struct {
	first *byte
	n     int
	path  string
}

// Observe implements [trace.Source].
func (r *redactor) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	obs, err := r.src.Observe(ctx, q)
	var nr *trace.NotReadError
	if errors.As(err, &nr) {
		clean := *nr
		clean.Why = string(redactText([]byte(nr.Why)))
		return obs, &clean
	}
	if err != nil || len(obs.Data) == 0 {
		return obs, err
	}
	key := redactKey{&obs.Data[0], len(obs.Data), q.Path()}
	r.mu.Lock()
	data, ok := r.done[key]
	r.mu.Unlock()
	if !ok {
		if data, err = redactFile(q, obs.Data); err != nil {
			return trace.Observation{}, err
		}
		r.mu.Lock()
		if before, ok := r.done[key]; ok {
			data = before
		} else {
			r.done[key] = data
		}
		r.mu.Unlock()
	}
	obs.Data = data
	return obs, nil
}

// redactFile redacts one file of a snapshot.
func redactFile(q trace.Query, data []byte) ([]byte, error) {
	first := byte(0)
	if t := bytes.TrimLeft(data, " \t\r\n\xef\xbb\xbf"); len(t) > 0 {
		first = t[0]
	}
	isJSON := first == '{' || first == '['
	if q.Area == trace.AreaCluster {
		if !isJSON {
			items, err := k8s.Items(data)
			if err != nil {
				return nil, inputError(q.Path(), err)
			}
			raws := make([][]byte, len(items))
			for i, it := range items {
				raws[i] = withKind(it)
			}
			data = joinList(raws)
		}
		switch q.File {
		case "secrets":
			return redactJSON(data, "data", "stringData"), nil
		case "configmaps":
			return redactJSON(data, "data", "binaryData"), nil
		}
		if !bytes.Contains(data, []byte(`"Secret"`)) {
			return redactJSON(data), nil
		}
		// A list of several kinds.
		items, err := k8s.Items(data)
		if err != nil {
			return redactJSON(data, "data", "stringData"), nil
		}
		if !slices.ContainsFunc(items, func(it k8s.RawItem) bool { return it.Kind == "Secret" }) {
			return redactJSON(data), nil
		}
		raws := make([][]byte, len(items))
		for i, it := range items {
			raws[i] = withKind(it)
			if it.Kind == "Secret" {
				raws[i] = redactJSON(raws[i], "data", "stringData")
			} else {
				raws[i] = redactJSON(raws[i])
			}
		}
		return joinList(raws), nil
	}
	if isJSON && !strings.HasSuffix(q.File, ".log") {
		return redactJSON(data), nil
	}
	return redactText(data), nil
}

// withKind is the item with the kind it has from its list.
func withKind(it k8s.RawItem) []byte {
	if bytes.Contains(it.Raw, []byte(`"kind"`)) && bytes.Contains(it.Raw, []byte(`"apiVersion"`)) || it.Kind == "" || len(it.Raw) < 2 {
		return it.Raw
	}
	out := append([]byte(`{"apiVersion":`), quoteJSON(it.APIVersion)...)
	out = append(out, `,"kind":`...)
	out = append(out, quoteJSON(it.Kind)...)
	rest := bytes.TrimLeft(it.Raw[1:], " \t\r\n")
	if !bytes.HasPrefix(rest, []byte("}")) {
		out = append(out, ',')
	}
	return append(out, rest...)
}

// The names of fields, headers and parameters whose values are secret, without
// case, dashes and underscores.
var secretFields = map[string]bool{
	"password": true, "passwd": true, "pwd": true, "passphrase": true,
	"authorization": true, "proxyauthorization": true, "cookie": true, "setcookie": true,
	"token": true, "accesstoken": true, "refreshtoken": true, "idtoken": true, "authtoken": true,
	"bearertoken": true, "sessiontoken": true, "securitytoken": true, "xauthtoken": true, "xamzsecuritytoken": true,
	"clientsecret": true, "secretaccesskey": true, "secretkey": true, "apikey": true, "xapikey": true,
	"privatekey": true, "xforwardedaccesstoken": true, "xgitlabtoken": true, "xvaulttoken": true,
}

// inlineSecrets are the messages of Envoy whose inline data is secret.
var inlineSecrets = map[string]bool{
	"privatekey": true, "password": true, "secret": true, "tokensecret": true, "hmacsecret": true,
	"clientsecret": true, "keys": true, "sessionticketkeys": true,
}

// keptConfig are the keys of ConfigMaps that a trace reads.
var keptConfig = map[string]bool{"mesh": true, "meshNetworks": true, "Corefile": true}

func folded(b []byte) string {
	if len(b) > 64 {
		return ""
	}
	out := make([]byte, 0, len(b))
	for _, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			out = append(out, c+'a'-'A')
		case c == '-' || c == '_':
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// secretName says whether an environment variable or header of that name holds
// a credential.
func secretName(name []byte) bool {
	f := folded(name)
	if secretFields[f] {
		return true
	}
	up := strings.ToUpper(string(name))
	for _, end := range [...]string{"_PATH", "_FILE", "_DIR", "_NAME", "_URL", "_TTL", "_AUDIENCE", "_AUDIENCES"} {
		if strings.HasSuffix(up, end) {
			return false
		}
	}
	for _, part := range [...]string{"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "credential"} {
		if strings.Contains(f, part) {
			// A name of a filter or an extension is no name of a variable.
			return !strings.Contains(f, ".")
		}
	}
	return false
}

// frame is an object or array that is open.
type frame struct {
	key    []byte // under which it stands; that of the array it stands in
	cur    []byte // the member that comes
	object bool
	secret bool // a "name" in it is that of a credential
}

// redactJSON redacts every string of a JSON text by the name it stands under and
// by what it is. hidden are the objects of which every value is secret. Bytes
// outside of strings stay; a text that is no JSON keeps its faults.
func redactJSON(data []byte, hidden ...string) []byte {
	var out []byte
	last := 0
	marks := marksOf(data)
	var stack []frame
	put := func(from, to int, with []byte) {
		out = append(out, data[last:from]...)
		out = append(out, with...)
		last = to
	}
	var key []byte // a string that may be a key
	for i := 0; i < len(data); {
		switch data[i] {
		case '{', '[':
			f := frame{object: data[i] == '{'}
			if n := len(stack); n > 0 {
				if f.key = stack[n-1].cur; !stack[n-1].object {
					f.key = stack[n-1].key
				}
			}
			if len(stack) < 10_000 {
				stack = append(stack, f)
			}
			i++
		case '}', ']':
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			i++
		case ':':
			if n := len(stack); n > 0 {
				stack[n-1].cur = key
			}
			i++
		case '"':
			end := stringEnd(data, i+1)
			if end < 0 {
				i = len(data)
				break
			}
			s := data[i+1 : end]
			isKey := false
			if n := len(stack); n > 0 && stack[n-1].object {
				for j := end + 1; j < len(data); j++ {
					if c := data[j]; c == ' ' || c == '\t' || c == '\n' || c == '\r' {
						continue
					}
					isKey = data[j] == ':'
					break
				}
			}
			if isKey {
				key = s
			} else if with, ok := redactValue(stack, s, hidden, marks); ok {
				put(i+1, end, with)
			}
			i = end + 1
		default:
			i++
		}
	}
	if out == nil {
		return data
	}
	return append(out, data[last:]...)
}

// stringEnd is where the string that begins at i has its closing quote, -1 where
// it has none.
func stringEnd(data []byte, i int) int {
	start := i
	for {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			return -1
		}
		end := i + n
		k := end
		for k > start && data[k-1] == '\\' {
			k--
		}
		if (end-k)%2 == 0 {
			return end
		}
		i = end + 1
	}
}

// redactValue says what is to stand for a string value, if not itself.
func redactValue(stack []frame, s []byte, hidden []string, marks marks) ([]byte, bool) {
	if n := len(stack); n > 0 && stack[n-1].object {
		f := &stack[n-1]
		switch {
		case slices.Contains(hidden, string(f.key)) && n > 1:
			if f.isConfig(hidden) && keptConfig[string(f.cur)] {
				break
			}
			return replace(s)
		case string(f.cur) == "kubectl.kubernetes.io/last-applied-configuration":
			return replace(s)
		}
		switch cur := folded(f.cur); cur {
		case "name", "key", "headername":
			if f.cur != nil && secretName(s) {
				f.secret = true
			}
		case "value", "rawvalue":
			if f.secret && !isOperator(s) {
				return replace(s)
			}
		case "inlinestring", "inlinebytes":
			if inlineSecrets[folded(f.key)] {
				return replace(s)
			}
		default:
			if secretFields[cur] && !isOperator(s) && !bytes.HasPrefix(s, []byte("/")) {
				return replace(s)
			}
		}
	}
	if len(s) < 8 {
		return nil, false
	}
	with := marks.apply(s, false)
	return with, !bytes.Equal(with, s)
}

// isConfig says whether it is a ConfigMap's data that is hidden.
func (f *frame) isConfig(hidden []string) bool {
	return slices.Contains(hidden, "binaryData") && string(f.key) == "data"
}

// replace keeps what is empty, or redacted already by whoever printed it.
func replace(s []byte) ([]byte, bool) {
	switch string(s) {
	case "", redacted, "[redacted]", "W3JlZGFjdGVkXQ==":
		return nil, false
	}
	return []byte(redacted), true
}

// isOperator says whether a value is an operator of Envoy's formats, which names
// a header and does not hold it.
func isOperator(s []byte) bool {
	return len(s) > 1 && s[0] == '%' && s[len(s)-1] == '%'
}

// redactText redacts a text of lines: a log, rules, counters. A line that is a
// JSON object is redacted as such too.
func redactText(data []byte) []byte {
	if bytes.Contains(data, []byte("{\"")) {
		var out []byte
		changed := false
		for line := range bytes.Lines(data) {
			if i := bytes.Index(line, []byte("{\"")); i >= 0 {
				clean := redactJSON(line[i:])
				changed = changed || &clean[0] != &line[i]
				out = append(append(out, line[:i]...), clean...)
				continue
			}
			out = append(out, line...)
		}
		if changed {
			data = out
		}
	}
	with := marksOf(data).apply(data, true)
	if bytes.Equal(with, data) {
		return data
	}
	return with
}

// marks are the signs of secrets that a whole text holds, so that only those are
// looked for in its parts.
type marks uint8

const (
	markPEM marks = 1 << iota
	markPEM64
	markJWT
	markScheme
	markParam
	markUser
	markHeader
)

func marksOf(data []byte) marks {
	var m marks
	has := func(s string) bool { return bytes.Contains(data, []byte(s)) }
	if has("PRIVATE KEY") {
		m |= markPEM
	}
	if has(pem64) {
		m |= markPEM64
	}
	if has("eyJ") {
		m |= markJWT
	}
	for _, s := range [...]string{"earer", "EARER", "asic ", "ASIC ", "asic%20"} {
		if has(s) {
			m |= markScheme
		}
	}
	for _, s := range [...]string{"oken=", "OKEN=", "assword=", "ASSWORD=", "asswd=", "ASSWD=", "wd=", "WD=", "ecret=", "ECRET=", "ey=", "EY=", "ignature=", "sig=", "redential="} {
		if has(s) {
			m |= markParam
		}
	}
	if has("://") && has("@") {
		m |= markUser
	}
	for _, s := range [...]string{"uthorization", "UTHORIZATION", "ookie", "OOKIE", "pi-key", "PI-KEY", "pi-Key", "uth-token", "uth-Token"} {
		if has(s) {
			m |= markHeader
		}
	}
	return m
}

// pem64 is how "-----BEGIN " begins in base64.
const pem64 = "LS0tLS1CRUdJTi"

var (
	pemBlock  = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`)
	jwt       = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?`)
	scheme    = regexp.MustCompile(`(?i)\b(bearer|basic)( +|%20)([A-Za-z0-9._~+/=-]{4,})`)
	param     = regexp.MustCompile(`(?i)\b((?:access|id|refresh|auth|security|session|amz-security)?[-_]?token|api[-_]?key|secret[-_]?key|access[-_]?key|passwd|password|pwd|(?:client[-_]?)?secret|(?:x-amz-)?(?:signature|credential)|sig)=([^&\s"'\\;,<>]+)`)
	userinfo  = regexp.MustCompile(`(://[^/\s:@"'\\]*:)([^@\s/"'\\]+)@`)
	headerTxt = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token)(["']?\s*[:=]\s*)("?)([^"\r\n]+)`)
)

// apply redacts s by what it holds. text is for lines, in which a header's name
// may stand before its value.
func (m marks) apply(s []byte, text bool) []byte {
	if m&markPEM != 0 && bytes.Contains(s, []byte("PRIVATE KEY")) {
		s = pemBlock.ReplaceAll(s, []byte(redacted))
	}
	if m&markPEM64 != 0 && !text && bytes.HasPrefix(s, []byte(pem64)) {
		if plain, err := base64.StdEncoding.DecodeString(string(s)); err != nil || bytes.Contains(plain, []byte("PRIVATE KEY")) {
			s = []byte(redacted)
		}
	}
	if text && m&markHeader != 0 {
		s = headerTxt.ReplaceAllFunc(s, func(b []byte) []byte {
			g := headerTxt.FindSubmatch(b)
			if isOperator(bytes.TrimSpace(g[4])) || bytes.HasPrefix(g[4], []byte(redacted)) {
				return b
			}
			return slices.Concat(g[1], g[2], g[3], []byte(redacted))
		})
	}
	if m&markJWT != 0 && bytes.Contains(s, []byte("eyJ")) {
		s = jwt.ReplaceAll(s, []byte(redacted))
	}
	if m&markScheme != 0 && (text || bytes.ContainsAny(s, " %")) {
		s = scheme.ReplaceAllFunc(s, func(b []byte) []byte {
			g := scheme.FindSubmatch(b)
			if !credential(g[1], g[3]) {
				return b
			}
			return slices.Concat(g[1], g[2], []byte(redacted))
		})
	}
	if m&markParam != 0 && bytes.IndexByte(s, '=') >= 0 {
		s = param.ReplaceAllFunc(s, func(b []byte) []byte {
			g := param.FindSubmatch(b)
			if isOperator(g[2]) || bytes.HasPrefix(g[2], []byte(redacted)) {
				return b
			}
			return slices.Concat(g[1], []byte("="+redacted))
		})
	}
	if m&markUser != 0 && bytes.IndexByte(s, '@') >= 0 {
		s = userinfo.ReplaceAll(s, []byte("${1}"+redacted+"@"))
	}
	return s
}

// credential tells a credential behind "Basic" or "Bearer" from a word of a
// sentence.
func credential(scheme, s []byte) bool {
	if string(s) == redacted {
		return false
	}
	if strings.EqualFold(string(scheme), "basic") {
		plain, err := base64.StdEncoding.DecodeString(string(s))
		if err != nil {
			plain, err = base64.RawStdEncoding.DecodeString(string(s))
		}
		return err == nil && bytes.IndexByte(plain, ':') >= 0
	}
	return len(s) >= 16 || bytes.ContainsAny(s, "0123456789")
}

func quoteJSON(s string) []byte {
	out := []byte{'"'}
	for _, c := range []byte(s) {
		if c < 0x20 || c == '"' || c == '\\' {
			continue // no apiVersion or kind has these
		}
		out = append(out, c)
	}
	return append(out, '"')
}
