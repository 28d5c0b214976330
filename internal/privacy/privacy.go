// Package privacy takes what identifies a platform, and what must stay secret,
// out of a report before it is shown to others.
//
// It knows how an address, a host name, the name of a node, a header value and a
// credential look in the texts a report holds. It must not know who shows the report. Masking errs
// on the side of taking away too much: a dotted word that is no host loses its
// name, too.
//
// A [Masker] gives the same thing the same name (ip-3, host-1, machine-2) for as
// long as it lives, so a masked path can still be followed from hop to hop.
package privacy

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"regexp"
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
const maxLearned = 4096

// Masker replaces addresses, hosts, names of nodes and header values. It is safe for concurrent
// use. The zero value is ready.
type Masker struct {
	mu       sync.Mutex
	names    map[string]string // address or host to its stand-in
	ips      int
	hosts    int
	machines int
	literal  map[string]string // header values, wherever they stand
	repl     *strings.Replacer
	words    map[string]string // nodes, single-label hosts, short header values: where they stand alone
	starts   map[byte][]string // words by their first byte, longest first
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

// Report returns a copy of r in which addresses, hosts, names of nodes, header
// values and credentials are masked everywhere: in excerpts, raw log lines and configuration
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
	return walker{text: m.text, header: func(trace.Header) string { return Masked }, field: privateField, logs: true}
}

// privateField says whether the value of a field of an access log may be a
// header's, and goes: those of headers, pseudo-headers aside, those that hold
// what others put there, and those of a JSON format's own keys, which do not
// tell.
func privateField(name, value string) (string, bool) {
	if value == "-" || value == "" {
		return "", false
	}
	if h, ok := fieldHeader(name); ok {
		return Masked, !strings.HasPrefix(h, ":")
	}
	base, _, _ := strings.Cut(name, "(")
	switch base {
	case "DYNAMIC_METADATA", "CLUSTER_METADATA", "UPSTREAM_METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE", "METADATA", "CEL", "ENVIRONMENT", "QUERY_PARAM", "COOKIE":
		return Masked, true
	}
	if base != "" && strings.Trim(base, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" {
		return "", false // an operator of Envoy's own
	}
	return Masked, !plainKeys[strings.ToLower(base)]
}

// plainKeys are keys of JSON access logs, as Istio and Envoy's examples name
// them, whose values are no header's.
var plainKeys = map[string]bool{
	"start_time": true, "time": true, "timestamp": true, "ts": true, "level": true, "method": true, "path": true, "authority": true, "host": true,
	"protocol": true, "response_code": true, "status": true, "response_flags": true, "flags": true, "response_code_details": true,
	"connection_termination_details": true, "upstream_transport_failure_reason": true, "bytes_received": true, "bytes_sent": true,
	"duration": true, "upstream_service_time": true, "upstream_host": true, "upstream_cluster": true, "upstream_local_address": true,
	"downstream_local_address": true, "downstream_remote_address": true, "requested_server_name": true, "route_name": true,
	"listener_address": true, "upstream_address": true, "downstream_address": true, "client": true, "client_ip": true,
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
	m.learnPlace(t.From)
	for _, h := range t.Headers {
		m.learnValue(h.Value)
	}
}

func (m *Masker) learnHop(h trace.Hop) {
	if strings.EqualFold(h.Subject.Kind, "node") {
		m.learnNode(h.Subject.Name)
	}
	for _, f := range []*trace.Flow{h.In, h.Out} {
		if f == nil {
			continue
		}
		m.learnPlace(f.At)
		m.learnHost(f.Authority)
		m.learnHost(f.SNI)
		for _, hd := range f.Headers {
			if !strings.EqualFold(hd.Name, "host") {
				m.learnValue(hd.Value)
			}
		}
	}
	for _, b := range h.Branches {
		if name, ok := strings.CutPrefix(b.Label, "node "); ok {
			m.learnNode(name)
		}
	}
	for _, host := range h.Detail.Hosts {
		m.learnHost(host)
	}
	for _, e := range h.Evidence {
		m.learnNodesOf(e.Excerpt)
	}
	for _, c := range h.Config {
		m.learnNodesOf(string(c.Object))
		for _, v := range headerValues(c.Object) {
			m.learnValue(v)
		}
	}
	for _, l := range h.Logs {
		if !l.Traced {
			continue
		}
		for name, v := range l.Fields {
			if _, gone := privateField(name, v); gone {
				m.learnValue(v)
			}
		}
		for _, v := range quotedValues(l, privateField) {
			m.learnValue(v)
		}
	}
}

// learnPlace learns the node of a vantage, node:NAME.
func (m *Masker) learnPlace(at string) {
	if name, ok := strings.CutPrefix(at, "node:"); ok {
		m.learnNode(name)
	}
}

// nodeNames finds what Kubernetes and Istio call a node in JSON or YAML.
var nodeNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)"?\b(?:node_?name|kubernetes\.io/hostname)"?\s*:\s*"?([A-Za-z0-9][A-Za-z0-9.-]*)`)
})

func (m *Masker) learnNodesOf(s string) {
	for _, found := range nodeNames().FindAllStringSubmatch(s, 64) {
		m.learnNode(found[1])
	}
}

func (m *Masker) learnNode(name string) {
	if _, err := netip.ParseAddr(name); err == nil || len(name) < 2 || m.words[name] != "" {
		return
	}
	stand := ""
	for stand == "" || m.words[stand] != "" || stand == name { // a node may be called so
		m.machines++
		stand = "machine-" + strconv.Itoa(m.machines)
	}
	m.learnWord(name, stand)
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
		m.learnWord(h, m.name(h, false))
	}
}

// learnValue learns a header's value. The shortest, and words that are in every
// request, are masked where headers stand and nowhere else. So are addresses,
// which have a name of their own wherever they stand: as a text 10.0.0.1 is in
// 10.0.0.12, too.
func (m *Masker) learnValue(v string) {
	if addresses(v) {
		return
	}
	switch {
	case len(v) < 2 || v == Masked || v == "-" || ordinary[strings.ToLower(v)]:
	case len(v) < 6 && strings.Trim(v, "0123456789.,:") == "":
	case len(v) < 6:
		m.learnWord(v, Masked)
		m.learnWord(strings.ToLower(v), Masked) // as configuration may have it
	default:
		if m.literal == nil {
			m.literal = map[string]string{}
		}
		if _, ok := m.literal[v]; !ok && len(m.literal) < maxLearned {
			m.literal[v] = Masked
			m.repl = nil
		}
	}
}

// addresses says whether v is a list of addresses, as X-Forwarded-For has it.
func addresses(v string) bool {
	for a := range strings.SplitSeq(v, ",") {
		a = strings.TrimSpace(a)
		if _, err := netip.ParseAddr(a); err != nil {
			if _, err := netip.ParseAddrPort(a); err != nil {
				return false
			}
		}
	}
	return true
}

// ordinary are values of headers that say nothing of a platform, and much else
// in a report.
var ordinary = map[string]bool{
	"http": true, "https": true, "true": true, "false": true, "none": true, "close": true, "gzip": true, "no": true, "yes": true, "on": true, "off": true,
	"*/*": true, "get": true, "post": true, "tcp": true, "h2": true, "h2c": true, "ok": true,
}

func (m *Masker) learnWord(word, stand string) {
	if m.words == nil {
		m.words, m.starts = map[string]string{}, map[byte][]string{}
	}
	if _, ok := m.words[word]; ok || len(m.words) >= maxLearned {
		return
	}
	m.words[word] = stand
	list := append(m.starts[word[0]], word)
	slices.SortFunc(list, longestFirst)
	m.starts[word[0]] = list
}

func longestFirst(a, b string) int {
	if len(a) != len(b) {
		return len(b) - len(a)
	}
	return strings.Compare(a, b)
}

// standing replaces the words of words where they stand alone: no letter or
// digit of ASCII before or behind them.
func standing(s string, starts map[byte][]string, words map[string]string) string {
	inWord := func(i int) bool {
		return i >= 0 && i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z')
	}
	var b strings.Builder
	last := 0
	for i := 0; i < len(s); i++ {
		list := starts[s[i]]
		if list == nil || inWord(i-1) && inWord(i) {
			continue
		}
		for _, w := range list {
			end := i + len(w)
			if strings.HasPrefix(s[i:], w) && !(inWord(end-1) && inWord(end)) {
				b.WriteString(s[last:i])
				b.WriteString(words[w])
				last, i = end, end-1
				break
			}
		}
	}
	if last == 0 {
		return s
	}
	b.WriteString(s[last:])
	return b.String()
}

// nodePaths masks NAME in nodes/NAME/FILE and node:NAME, as observations and
// vantages name a node that may not be known yet.
func (m *Masker) nodePaths(s string) {
	for _, lead := range []string{"nodes/", "node:"} {
		for at := 0; ; {
			i := strings.Index(s[at:], lead)
			if i < 0 {
				break
			}
			at += i + len(lead)
			n := strings.IndexFunc(s[at:], func(r rune) bool {
				return r != '-' && r != '.' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
			})
			switch {
			case n < 0 && lead == "node:":
				m.learnNode(strings.Trim(s[at:], ".-"))
			case n > 0 && (lead == "node:" || s[at+n] == '/'):
				m.learnNode(strings.Trim(s[at:at+n], ".-"))
			}
		}
	}
}

func (m *Masker) replacer() *strings.Replacer {
	if m.repl == nil {
		keys := slices.SortedFunc(maps.Keys(m.literal), longestFirst)
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
	if strings.Contains(s, "node") {
		m.nodePaths(s)
	}
	if len(m.literal) > 0 {
		s = m.replacer().Replace(s)
	}
	if len(m.words) > 0 {
		s = standing(s, m.starts, m.words)
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
	case "json", "txt", "log", "yaml", "yml", "md", "gz", "pem", "crt", "key", "sock", "conf", "cfg", "wasm", "lua", "go", "cc", "proto":
		return false
	}
	if fieldPath(s) {
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

// fieldPath says whether a dotted word is a field of a resource, as what to do
// about a finding names it: spec.exportTo, destination.host. Its last word is in
// camel case, or all of its words are names of fields.
func fieldPath(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	for i := 1; i < len(last); i++ {
		if last[i] >= 'A' && last[i] <= 'Z' && last[i-1] >= 'a' && last[i-1] <= 'z' {
			return true
		}
	}
	for word := range strings.SplitSeq(s, ".") {
		if !fields[word] {
			return false
		}
	}
	return true
}

var fields = map[string]bool{
	"spec": true, "metadata": true, "status": true, "items": true, "name": true, "namespace": true, "labels": true, "annotations": true,
	"host": true, "hosts": true, "destination": true, "port": true, "ports": true, "number": true, "subset": true, "subsets": true,
	"tls": true, "mode": true, "trafficPolicy": true, "gateways": true, "servers": true, "selector": true, "rules": true,
	"principals": true, "addresses": true, "egress": true, "ingress": true, "resolution": true, "timeout": true, "match": true,
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
	out, changed := maskMembers(raw, text, func(key, _ string) (string, bool) { return Masked, secretHeader(key) })
	if !changed {
		return raw
	}
	if !json.Valid(out) { // not JSON to begin with
		s, _ := json.Marshal(text(string(raw)))
		return s
	}
	return out
}

// maskMembers masks every string of a JSON document with text; those for whose
// member (that of the innermost object around them) gone says so go.
func maskMembers(raw json.RawMessage, text func(string) string, gone func(key, value string) (string, bool)) (masked json.RawMessage, changed bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out bytes.Buffer
	type level struct {
		object bool
		n      int
		key    string
	}
	var stack []level
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
		isKey, key := false, ""
		if len(stack) > 0 {
			top := &stack[len(stack)-1]
			switch {
			case top.object && top.n%2 == 1:
				out.WriteByte(':')
			case top.n > 0:
				out.WriteByte(',')
			}
			isKey, key = top.object && top.n%2 == 0, top.key
			top.n++
		}
		switch v := tok.(type) {
		case json.Delim:
			out.WriteByte(byte(v))
			stack = append(stack, level{object: v == '{', key: key})
		case string:
			masked := text(v)
			if isKey {
				stack[len(stack)-1].key = v
			} else if stand, yes := gone(key, v); yes && v != "" {
				masked = stand
			}
			changed = changed || masked != v
			s, _ := json.Marshal(masked)
			out.Write(s)
		default:
			s, err := json.Marshal(v)
			if err != nil {
				return json.RawMessage(`"` + Masked + `"`), true
			}
			out.Write(s)
		}
	}
	return out.Bytes(), changed
}

// headerValues are the values that a configuration matches or sets headers to:
// the strings below a member named headers or *_headers_to_add, but for the names
// of headers.
func headerValues(raw json.RawMessage) []string {
	if !bytes.Contains(raw, []byte("eaders")) {
		return nil
	}
	var doc any
	if json.Unmarshal(raw, &doc) != nil {
		return nil
	}
	var out []string
	var visit func(v any, depth int, within bool)
	visit = func(v any, depth int, within bool) {
		if depth > 64 || len(out) >= maxLearned {
			return
		}
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				low := strings.ToLower(k)
				switch {
				case within && (low == "name" || low == "key" || low == "remove" || low == "append_action" || low == "@type"):
				case low == "headers" || strings.HasSuffix(low, "headers_to_add") || low == "header":
					visit(v[k], depth+1, true)
				default:
					visit(v[k], depth+1, within)
				}
			}
		case []any:
			for _, x := range v {
				visit(x, depth+1, within)
			}
		case string:
			if within && !strings.Contains(v, "%") {
				out = append(out, v)
			}
		}
	}
	visit(doc, 0, false)
	return out
}
