package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/internal/sanitize"
)

func newEnvoyCmd(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "envoy",
		Short: "Evaluate requests against config_dump files",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	cmd.AddCommand(newEnvoyMatchCmd(s))
	return cmd
}

// callFlags is one call as the command line, or a line of --calls, gives it.
type callFlags struct {
	Address      string     `json:"address"`
	URL          string     `json:"url"`
	Method       string     `json:"method"`
	Headers      headerList `json:"headers"`
	TLS          string     `json:"tls"`
	SNI          string     `json:"sni"`
	ALPN         []string   `json:"alpn"`
	SourceIP     string     `json:"source_ip"`
	Direction    string     `json:"direction"`
	OriginalDst  string     `json:"original_dst"`
	Protocol     string     `json:"protocol"`
	HTTPVersion  string     `json:"http_version"`
	SANs         []string   `json:"san"`
	ProxyHeader  bool       `json:"proxy_protocol"`
	ConnectOnly  bool       `json:"connect_only"`
	PastRefusals bool       `json:"past_refusals"`

	alpnGiven, sniGiven bool
}

// headerList reads headers from JSON: ["k: v", ...] or {"k": "v"}.
type headerList []string

func (h *headerList) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*h = list
		return nil
	}
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return errors.New(`headers must be ["name: value"] or {"name": "value"}`)
	}
	for k, v := range m {
		*h = append(*h, k+": "+v)
	}
	slices.Sort(*h)
	return nil
}

// matchOptions is what `envoy match` was asked.
type matchOptions struct {
	call callFlags

	dump, clusters, listeners, certs, serverInfo, stats string
	calls, output                                       string
}

func newEnvoyMatchCmd(s *streams) *cobra.Command {
	o := &matchOptions{}
	cmd := &cobra.Command{
		Use:   "match",
		Short: "Say what an Envoy does with one request",
		Long: `match evaluates one request, or one connection, against an Envoy's config_dump as
that Envoy does: listener, filter chain, filters, route, cluster, endpoint, each
with the reason, who wrote it, and what was nearly chosen instead. Where the
configuration leaves a choice, every way is printed with its probability. What
the files do not tell is named, and the answer is then undetermined.
docs/evaluate.md describes the JSON, in and out.

Exit status: 0 forwarded, 1 answered or refused by Envoy on some way, 2 bad
input, 3 undetermined.`,
		Example: `  # which Service does the gateway send this to?
  hoptrail envoy match --config-dump config_dump.json --address 10.10.1.4:8080 \
    --url http://simple.baihl.io/simple/httpserver

  # a sidecar's outbound side, with the health of the endpoints
  hoptrail envoy match --config-dump config_dump.json --clusters clusters.json \
    --direction outbound --address 10.96.44.3:9080 --url http://reviews:9080/reviews/1

  # TLS, for a script
  hoptrail envoy match --config-dump config_dump.json --address 10.10.1.4:8443 \
    --url https://exam.com/getList -o json

  # many calls, one JSON object a line
  hoptrail envoy match --config-dump config_dump.json --calls calls.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.call.alpnGiven, o.call.sniGiven = cmd.Flags().Changed("alpn"), cmd.Flags().Changed("sni")
			return runEnvoyMatch(s, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dump, "config-dump", "", "`FILE` of /config_dump?include_eds, gzip or not (- for stdin)")
	f.StringVar(&o.clusters, "clusters", "", "`FILE` of /clusters, text or JSON: the health of the endpoints")
	f.StringVar(&o.listeners, "listeners", "", "`FILE` of /listeners")
	f.StringVar(&o.certs, "certs", "", "`FILE` of /certs")
	f.StringVar(&o.serverInfo, "server-info", "", "`FILE` of /server_info")
	f.StringVar(&o.stats, "stats", "", "`FILE` of /stats, text or JSON: open circuit breakers")
	f.StringVar(&o.call.Address, "address", "", "`IP:PORT` the client asks for (default the URL's, where that is one)")
	f.StringVar(&o.call.URL, "url", "", "`URL` of the request, or only its path")
	f.StringArrayVarP((*[]string)(&o.call.Headers), "header", "H", nil, "request header `'name: value'`; may be repeated; 'Host:' sends none")
	f.StringVarP(&o.call.Method, "request", "X", "", "request `METHOD` (default GET)")
	f.StringVar(&o.call.TLS, "tls", "", "`none|tls|mtls`; with mtls the client presents a certificate (default by the URL)")
	f.StringVar(&o.call.SNI, "sni", "", "server `NAME` in the TLS hello (default the URL's host)")
	f.StringSliceVar(&o.call.ALPN, "alpn", nil, "application `PROTOCOLS` in the TLS hello, in order (default by --protocol)")
	f.StringVar(&o.call.SourceIP, "source-ip", "", "the client's `IP[:PORT]`")
	f.StringVar(&o.call.Direction, "direction", "", "`inbound|outbound|gateway`: how the connection comes to the proxy (default the dump tells)")
	f.StringVar(&o.call.OriginalDst, "original-dst", "", "original destination `IP:PORT` of a captured connection (default --address)")
	f.StringVar(&o.call.Protocol, "protocol", "", "`http|http2|tcp` (default by the URL, else http)")
	f.StringVar(&o.call.HTTPVersion, "http-version", "", "`1.0|1.1|2`")
	f.StringSliceVar(&o.call.SANs, "san", nil, "names in the client's certificate, spiffe://... or DNS `NAMES`")
	f.BoolVar(&o.call.ProxyHeader, "proxy-protocol", false, "a PROXY protocol header is sent first; --source-ip is what it says")
	f.BoolVar(&o.call.ConnectOnly, "connect-only", false, "only connect: stop where a request would begin")
	f.BoolVar(&o.call.PastRefusals, "past-refusals", false, "show also what would come after a refusal")
	f.StringVar(&o.calls, "calls", "", "`FILE` of calls, one JSON object a line (- for stdin); prints one JSON object a line")
	f.StringVarP(&o.output, "output", "o", "text", "`text|json`")
	_ = cmd.MarkFlagRequired("config-dump")
	return cmd
}

func runEnvoyMatch(s *streams, o *matchOptions) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %s: want text or json", o.output)
	}
	if o.dump == "-" && o.calls == "-" {
		return errors.New("--config-dump and --calls cannot both be stdin")
	}
	var one envoyadmin.Call
	if o.calls == "" {
		var err error
		if one, err = o.call.call(); err != nil {
			return err
		}
	}
	dump, err := openDump(s, o)
	if err != nil {
		return err
	}
	if o.calls != "" {
		return matchAll(s, o, dump)
	}
	result := dump.Match(one)
	w := bufio.NewWriter(s.out)
	if o.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(result)
	} else {
		writeStory(w, one, result)
	}
	if err := errors.Join(err, w.Flush()); err != nil {
		return err
	}
	if code := matchExit(result); code != exitReachable {
		return &exitError{code: code}
	}
	return nil
}

// matchExit is the exit status of a result: a way that Envoy refuses or answers
// itself outranks one that is not known.
func matchExit(r envoyadmin.Result) int {
	code := exitReachable
	for _, o := range r.Outcomes {
		switch o.Verdict {
		case envoyadmin.Forward:
		case envoyadmin.Undetermined, "":
			if code == exitReachable {
				code = exitUndetermined
			}
		default:
			code = exitUnreachable
		}
	}
	return code
}

// openDump reads the config_dump and what belongs to it.
func openDump(s *streams, o *matchOptions) (*envoyadmin.Dump, error) {
	data, err := readInput(s, o.dump)
	if err != nil {
		return nil, err
	}
	dump, err := envoyadmin.Read(inputName(o.dump), data)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		file string
		add  func(string, []byte) error
	}{
		{o.clusters, dump.AddClusters},
		{o.listeners, dump.AddListeners},
		{o.certs, dump.AddCerts},
		{o.serverInfo, dump.AddServerInfo},
		{o.stats, dump.AddStats},
	} {
		if f.file == "" {
			continue
		}
		data, err := readInput(s, f.file)
		if err != nil {
			return nil, err
		}
		if err := f.add(f.file, data); err != nil {
			return nil, err
		}
	}
	return dump, nil
}

func inputName(file string) string {
	if file == "-" {
		return "stdin"
	}
	return file
}

// readInput returns the content of a file, mapped where it is large.
func readInput(s *streams, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(s.stdin())
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", file)
	}
	return mapFile(file)
}

// matchAll evaluates calls line by line.
func matchAll(s *streams, o *matchOptions, dump *envoyadmin.Dump) error {
	data, err := readInput(s, o.calls)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(s.out)
	defer w.Flush()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	code, n := exitReachable, 0
	for line := range bytes.Lines(data) {
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var f callFlags
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			return fmt.Errorf("%s:%d: %w", inputName(o.calls), n, err)
		}
		f.alpnGiven, f.sniGiven = f.ALPN != nil, f.SNI != ""
		c, err := f.call()
		if err != nil {
			return fmt.Errorf("%s:%d: %w", inputName(o.calls), n, err)
		}
		r := dump.Match(c)
		if err := enc.Encode(r); err != nil {
			return err
		}
		switch got := matchExit(r); {
		case got == exitUnreachable, code == exitReachable:
			code = got
		}
	}
	if code != exitReachable {
		return &exitError{code: code}
	}
	return nil
}

// call makes a call of the flags and their defaults.
func (f *callFlags) call() (envoyadmin.Call, error) {
	var c envoyadmin.Call
	host, hostGiven, scheme := "", false, ""
	switch {
	case strings.HasPrefix(f.URL, "/"):
		c.Path = f.URL
	case f.URL != "":
		raw := f.URL
		if !strings.Contains(raw, "://") {
			raw = "http://" + raw
		}
		u, err := url.Parse(raw)
		if err != nil {
			return c, fmt.Errorf("--url %q: %w", f.URL, errors.Unwrap(err))
		}
		if u.User != nil {
			return c, errors.New("--url holds a user name or password; send credentials with -H")
		}
		scheme = strings.ToLower(u.Scheme)
		switch scheme {
		case "http", "https", "grpc", "tcp", "tls":
		default:
			return c, fmt.Errorf("--url %q: scheme %q is none of http, https, grpc, tcp, tls", f.URL, u.Scheme)
		}
		host, hostGiven = u.Host, u.Host != ""
		c.Path = pathOf(raw)
	}
	for _, h := range f.Headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return c, fmt.Errorf("-H %q: want 'name: value'", h)
		}
		if strings.EqualFold(name, "host") {
			c.Authority = strings.TrimSpace(value)
			c.NoAuthority = c.Authority == ""
			continue
		}
		c.Headers = append(c.Headers, envoyadmin.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	if err := f.addresses(&c, host, scheme); err != nil {
		return c, err
	}
	if c.Authority == "" && !c.NoAuthority && hostGiven {
		c.Authority = withoutDefaultPort(host, scheme)
	}
	switch f.Direction {
	case "", "auto":
	case "gateway", "inbound", "outbound":
		c.Direction = envoyadmin.Direction(f.Direction)
	default:
		return c, fmt.Errorf("--direction %s: want inbound, outbound or gateway", f.Direction)
	}
	if err := f.protocol(&c, scheme); err != nil {
		return c, err
	}
	c.Method = f.Method
	if scheme == "grpc" {
		c.Method = cmpOr(c.Method, "POST")
		if !slices.ContainsFunc(c.Headers, func(h envoyadmin.Header) bool { return strings.EqualFold(h.Name, "content-type") }) {
			c.Headers = append(c.Headers, envoyadmin.Header{Name: "content-type", Value: "application/grpc"})
		}
	}
	f.hello(&c, host)
	for _, san := range f.SANs {
		if strings.Contains(san, "://") {
			c.Peer.URISANs = append(c.Peer.URISANs, san)
		} else {
			c.Peer.DNSSANs = append(c.Peer.DNSSANs, san)
		}
	}
	c.ProxyHeader, c.ConnectOnly, c.PastRefusals = f.ProxyHeader, f.ConnectOnly, f.PastRefusals
	return c, nil
}

// pathOf is path and query of a URL as they were typed: what Envoy gets is not
// cleaned by the client.
func pathOf(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	i := strings.IndexAny(rest, "/?#")
	if i < 0 {
		return "/"
	}
	rest = rest[i:]
	if h := strings.IndexByte(rest, '#'); h >= 0 {
		rest = rest[:h] // a client keeps the fragment for itself
	}
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func withoutDefaultPort(host, scheme string) string {
	switch scheme {
	case "http", "grpc":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// addresses reads --address, --original-dst and --source-ip.
func (f *callFlags) addresses(c *envoyadmin.Call, host, scheme string) error {
	var err error
	switch {
	case f.Address != "":
		if c.Address, err = netip.ParseAddrPort(f.Address); err != nil || c.Address.Port() == 0 {
			return fmt.Errorf("--address %q: want IP:PORT or [v6]:PORT", f.Address)
		}
	case host != "":
		full := host
		if _, _, ok := strings.Cut(host, ":"); !ok || strings.HasSuffix(host, "]") {
			full = host + map[string]string{"http": ":80", "grpc": ":80", "https": ":443"}[scheme]
		}
		if c.Address, err = netip.ParseAddrPort(full); err != nil {
			return fmt.Errorf("--address is missing: %s is a name; give the IP:PORT that the client connects to", host)
		}
	default:
		return errors.New("--address is missing: give the IP:PORT that the client connects to")
	}
	if f.OriginalDst != "" {
		if c.OriginalDst, err = netip.ParseAddrPort(f.OriginalDst); err != nil {
			return fmt.Errorf("--original-dst %q: want IP:PORT", f.OriginalDst)
		}
	}
	if f.SourceIP != "" {
		if ip, err := netip.ParseAddr(f.SourceIP); err == nil {
			c.Source = netip.AddrPortFrom(ip, 0)
		} else if c.Source, err = netip.ParseAddrPort(f.SourceIP); err != nil {
			return fmt.Errorf("--source-ip %q: want IP or IP:PORT", f.SourceIP)
		}
	}
	return nil
}

// protocol reads --protocol, --http-version and --tls.
func (f *callFlags) protocol(c *envoyadmin.Call, scheme string) error {
	switch f.Protocol {
	case "":
		c.Protocol = envoyadmin.HTTP
		switch scheme {
		case "grpc":
			c.Protocol = envoyadmin.HTTP2
		case "tcp", "tls":
			c.Protocol = envoyadmin.TCP
		}
	case "http", "http2", "tcp":
		c.Protocol = envoyadmin.Protocol(f.Protocol)
	case "grpc":
		c.Protocol = envoyadmin.HTTP2
	default:
		return fmt.Errorf("--protocol %s: want http, http2 or tcp", f.Protocol)
	}
	switch f.HTTPVersion {
	case "", "1.0", "1.1", "2":
		c.HTTPVersion = f.HTTPVersion
	default:
		return fmt.Errorf("--http-version %s: want 1.0, 1.1 or 2", f.HTTPVersion)
	}
	if c.HTTPVersion == "2" && c.Protocol == envoyadmin.HTTP {
		c.Protocol = envoyadmin.HTTP2
	}
	switch f.TLS {
	case "none", "tls", "mtls":
		c.TLS = envoyadmin.TLSMode(f.TLS)
	case "plaintext":
		c.TLS = envoyadmin.NoTLS
	case "":
		c.TLS = envoyadmin.NoTLS
		if scheme == "https" || scheme == "tls" || f.SNI != "" || len(f.ALPN) > 0 {
			c.TLS = envoyadmin.TLS
		}
		if len(f.SANs) > 0 {
			c.TLS = envoyadmin.MTLS
		}
	default:
		return fmt.Errorf("--tls %s: want none, tls or mtls", f.TLS)
	}
	return nil
}

// hello fills in what a client puts into the TLS hello by itself: the host's
// name, and the protocols a program (tls) or a sidecar (mtls) offers.
func (f *callFlags) hello(c *envoyadmin.Call, urlHost string) {
	if c.TLS == envoyadmin.NoTLS {
		return
	}
	c.SNI, c.ALPN = f.SNI, f.ALPN
	if !f.sniGiven {
		name := hostName(cmpOr(urlHost, c.Authority))
		if _, err := netip.ParseAddr(name); err != nil {
			c.SNI = name
		}
	}
	if f.alpnGiven {
		c.ALPN = slices.DeleteFunc(c.ALPN, func(p string) bool { return p == "" })
		return
	}
	prefix := ""
	if c.TLS == envoyadmin.MTLS {
		prefix = "istio-"
	}
	switch c.Protocol {
	case envoyadmin.HTTP:
		c.ALPN = []string{prefix + "http/" + cmpOr(c.HTTPVersion, "1.1")}
	case envoyadmin.HTTP2:
		c.ALPN = []string{prefix + "h2"}
	default:
		if prefix != "" {
			c.ALPN = []string{"istio"}
		}
	}
}

// hostName is a host without its port.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		if _, err := strconv.Atoi(host[i+1:]); err == nil && strings.Count(host[:i], ":") == 0 || strings.HasSuffix(host[:i], "]") {
			host = host[:i]
		}
	}
	return strings.Trim(host, "[]")
}

var storyMarks = map[envoyadmin.State]string{
	envoyadmin.StateOK: "ok  ", envoyadmin.StateWarn: "warn", envoyadmin.StateFail: "FAIL", envoyadmin.StateUnknown: "?   ",
}

// writeStory tells a result as text: for each way its decisions in order, how it
// ends, and what was nearly chosen.
func writeStory(w io.Writer, c envoyadmin.Call, r envoyadmin.Result) {
	line := func(format string, args ...any) { fmt.Fprintln(w, sanitize.Line(fmt.Sprintf(format, args...))) }
	line("%s", asked(c))
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		line("")
		if len(r.Outcomes) > 1 {
			line("%d of %d, %.4g %% of the requests", i+1, len(r.Outcomes), 100*o.Probability)
		}
		for _, s := range o.Steps {
			mark := storyMarks[s.State]
			if mark == "" {
				mark = storyMarks[envoyadmin.StateUnknown]
			}
			line("  %s  %-12s  %s", mark, strings.ReplaceAll(s.Kind, "_", " "), cmpOr(s.Name, "(no name)"))
			for why := range strings.SplitSeq(s.Why, "; ") {
				if why != "" && why != s.Name {
					line("%22s%s", "", why)
				}
			}
			if len(s.Owner) > 0 {
				line("%22swritten as %s", "", strings.Join(s.Owner, ", "))
			}
		}
		line("  => %s", ending(o))
		for _, words := range o.Routing.Words() {
			line("     %s", words)
		}
		for _, reason := range o.Reasons {
			line("     %s", reason)
		}
		if len(o.Hosts) > 0 {
			line("     serves")
			for _, h := range o.Hosts {
				line("       %s", h)
			}
		}
		if len(o.NearMisses) > 0 {
			line("     why not")
			for _, m := range o.NearMisses {
				what := strings.ReplaceAll(m.Kind, "_", " ")
				if m.Kind == envoyadmin.KindListener && m.Name == "" { // of all of them
					line("       %s", m.Why)
					continue
				}
				if !strings.HasPrefix(m.Name, what) { // "filter chain 0" says it already
					what += " " + cmpOr(m.Name, "(no name)")
				} else {
					what = m.Name
				}
				line("       %s: %s", what, m.Why)
			}
		}
	}
}

// asked is the call in one line.
func asked(c envoyadmin.Call) string {
	to := c.Address.String()
	if c.ConnectOnly {
		return "connect to " + to
	}
	var tls string
	switch c.TLS {
	case envoyadmin.TLS:
		tls = " over TLS"
	case envoyadmin.MTLS:
		tls = " over mTLS"
	}
	if tls != "" && c.SNI != "" {
		tls += ", server name " + c.SNI
	}
	if c.Protocol == envoyadmin.TCP {
		return "TCP to " + to + tls
	}
	host := cmpOr(c.Authority, to)
	if c.NoAuthority {
		host = "(no Host) "
	}
	return fmt.Sprintf("%s %s%s to %s%s", cmpOr(c.Method, "GET"), host, cmpOr(c.Path, "/"), to, tls)
}

// ending is how a way ends, in one line.
func ending(o *envoyadmin.Outcome) string {
	tail := ""
	if o.Flags != "" || o.Details != "" {
		tail = " (log: " + strings.TrimSpace(cmpOr(o.Flags, "-")+" "+o.Details) + ")"
	}
	status := ""
	if o.Response != nil {
		status = " with " + o.Response.String()
		if o.Response.Location != "" {
			status += " to " + o.Response.Location
		}
	}
	switch o.Verdict {
	case envoyadmin.Forward:
		if o.Cluster == "" {
			return "accepted, ends at " + cmpOr(o.Terminal, "the listener")
		}
		text := "forwarded to " + o.Cluster
		if o.Request != nil {
			text += fmt.Sprintf(" as %s%s", o.Request.Authority, o.Request.Path)
		}
		return text + tail
	case envoyadmin.Redirect:
		return "redirected" + status + tail
	case envoyadmin.DirectResponse:
		return "answered by Envoy" + status + tail
	case envoyadmin.Reject:
		return strings.TrimSpace("refused"+status+" "+strings.ReplaceAll(o.Error, "_", " ")) + tail
	default:
		return "undetermined"
	}
}
