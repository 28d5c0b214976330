package trace

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Target is what the user asked: a URL or an address, and how and from where
// the request would be sent.
type Target struct {
	Raw         string            `json:"raw"`    // as typed
	Scheme      string            `json:"scheme"` // http, https, grpc, tcp, tls, udp
	Host        string            `json:"host"`   // name or IP, without brackets
	Port        int               `json:"port"`
	Path        string            `json:"path,omitempty"` // with the query; HTTP only
	From        string            `json:"from"`           // external, node:NAME, pod:NS/NAME
	Method      string            `json:"method,omitempty"`
	Headers     []Header          `json:"headers,omitempty"`
	SNI         string            `json:"sni,omitempty"`
	SourceIP    string            `json:"source_ip,omitempty"` // IP or IP:port of the client
	Resolve     map[string]string `json:"resolve,omitempty"`   // host:port to addr[:port], as curl's
	HTTPVersion string            `json:"http_version,omitempty"`
	// ClientCert says that the client presents a certificate which the server
	// accepts; TLS targets only. Without it the client has none.
	ClientCert bool `json:"client_cert,omitempty"`
}

var defaultPorts = map[string]int{"http": 80, "https": 443, "grpc": 80}

// ParseTarget reads what a user types: http(s)://host[:port]/path?query,
// grpc://host[:port]/path, tcp://host:port, tls://host:port, udp://host:port, IP:port or
// [v6]:port. A bare address is a TCP connection and nothing more. The error
// says what is wrong and what would be right.
func ParseTarget(raw string) (Target, error) {
	t := Target{Raw: raw, From: "external"}
	if len(raw) > 8192 {
		return t, fmt.Errorf("target is %d bytes long; at most 8192 are read", len(raw))
	}
	for _, r := range raw {
		if r < 0x21 || r == 0x7f || r == '\ufffd' {
			return t, fmt.Errorf("target %q holds a blank or control character", clip(withoutUser(raw)))
		}
	}
	if !strings.Contains(raw, "://") {
		ap, err := netip.ParseAddrPort(raw)
		if err != nil || ap.Port() == 0 {
			return t, fmt.Errorf("target %q is neither a URL (http://host/path, tcp://host:port) nor IP:port%s", clip(withoutUser(raw)), meant(raw))
		}
		if ap.Addr().Zone() != "" {
			return t, fmt.Errorf("target %q: a zone means something on one machine only", clip(raw))
		}
		t.Scheme, t.Host, t.Port = "tcp", ap.Addr().Unmap().String(), int(ap.Port())
		return t, nil
	}
	shown := clip(withoutUser(raw))
	u, err := url.Parse(raw)
	if err != nil && strings.Contains(raw, "@") {
		// The parser's message may quote a password.
		return t, fmt.Errorf("target %q is not a URL; credentials are sent with -H", shown)
	}
	if err != nil {
		return t, fmt.Errorf("target %q: %w", shown, unwrapURL(err))
	}
	t.Scheme = strings.ToLower(u.Scheme)
	switch t.Scheme {
	case "http", "https", "grpc", "tcp", "tls", "udp":
	case "ws", "wss":
		return t, fmt.Errorf("target %q: a WebSocket begins as a request: %s:// with -H 'Connection: Upgrade' -H 'Upgrade: websocket'", shown, strings.Replace(t.Scheme, "ws", "http", 1))
	default:
		return t, fmt.Errorf("target %q: scheme %q is none of http, https, grpc, tcp, tls, udp", shown, u.Scheme)
	}
	if u.User != nil {
		return t, fmt.Errorf("target holds a user name or password; send credentials with -H")
	}
	t.Host = strings.TrimSuffix(u.Hostname(), ".")
	if err := checkHost(t.Host); err != nil {
		return t, fmt.Errorf("target %q: %w", shown, err)
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return t, fmt.Errorf("target %q: port %s is not in 1-65535", shown, p)
		}
		t.Port = n
	} else if strings.HasSuffix(u.Host, ":") {
		return t, fmt.Errorf("target %q: no port after the colon", shown)
	} else if t.Port = defaultPorts[t.Scheme]; t.Port == 0 {
		return t, fmt.Errorf("target %q: %s:// needs a port", shown, t.Scheme)
	}
	if t.HTTP() {
		t.Path = u.EscapedPath()
		if t.Path == "" {
			t.Path = "/"
		}
		if u.RawQuery != "" || u.ForceQuery {
			t.Path += "?" + u.RawQuery
		}
		t.Method = "GET"
		if t.Scheme == "grpc" {
			t.Method = "POST"
		}
	} else if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return t, fmt.Errorf("target %q: %s:// takes no path and no query", shown, t.Scheme)
	}
	return t, nil
}

// meant says what someone may have meant who left out the scheme or the port.
func meant(raw string) string {
	if a, err := netip.ParseAddr(raw); err == nil && a.Zone() == "" {
		host := raw
		if a.Is6() {
			host = "[" + raw + "]"
		}
		return fmt.Sprintf("; %s:PORT is a connection, http://%s/ a request", host, host)
	}
	if !strings.ContainsAny(raw, ".:/") || strings.Contains(raw, "@") {
		return ""
	}
	if _, err := ParseTarget("http://" + raw); err != nil {
		return ""
	}
	return "; did you mean http://" + clip(raw) + "?"
}

// withoutUser leaves a user name and password out of what was typed.
func withoutUser(raw string) string {
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return raw[strings.LastIndexByte(raw, '@')+1:]
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	// A slash may stand in the password: whatever is before the last @ goes.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 && (at < end || strings.Contains(rest[:end], ":")) {
		return raw[:len(raw)-len(rest)] + rest[at+1:]
	}
	return raw
}

func unwrapURL(err error) error {
	if ue, ok := err.(*url.Error); ok {
		return ue.Err
	}
	return err
}

func checkHost(host string) error {
	if host == "" {
		return fmt.Errorf("no host")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return fmt.Errorf("address %q has a zone, which means something on one machine only", host)
		}
		return nil
	}
	if len(host) > 253 {
		return fmt.Errorf("host name is longer than 253 characters")
	}
	if last := host[strings.LastIndexByte(host, '.')+1:]; last != "" && strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("host %q ends in a number but is not an address", host)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("host %q is not a name or an address", host)
		}
		for _, r := range label {
			if r > 0x7f {
				return fmt.Errorf("host %q is not ASCII; give the form that begins with xn--", host)
			}
			if !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
				return fmt.Errorf("host %q is not a name or an address", host)
			}
		}
	}
	return nil
}

// HTTP says whether the target is an HTTP request, not only a connection.
func (t Target) HTTP() bool {
	return t.Scheme == "http" || t.Scheme == "https" || t.Scheme == "grpc"
}

// TLS says whether the client speaks TLS.
func (t Target) TLS() bool { return t.Scheme == "https" || t.Scheme == "tls" }

// HostPort is host:port as it is dialled.
func (t Target) HostPort() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }
