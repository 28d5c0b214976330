package route

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Format expands a substitution format string (%REQ(x)%, %PROTOCOL%) for a request. known is false where a value is not
// known here; its operator then stays as written.
func Format(s string, req *matcher.Request) (out string, known bool) { return format(s, req, nil) }

// format expands a substitution format string (%REQ(x)%, %PROTOCOL%) for a request, optionally with the response
// headers so far. An operator whose value is not known here stays as written, and known is false.
func format(s string, req *matcher.Request, resp []matcher.Header) (out string, known bool) {
	known = true
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		if strings.HasPrefix(s, "%%") {
			b.WriteByte('%')
			s = s[2:]
			continue
		}
		name, arg, limit, n, ok := operator(s)
		if !ok {
			b.WriteString(s)
			return b.String(), false
		}
		v, have := operand(name, arg, req, resp)
		if !have {
			known = false
			b.WriteString(s[:n])
		} else {
			if limit >= 0 && limit < len(v) {
				v = v[:limit]
			}
			b.WriteString(v)
		}
		s = s[n:]
	}
	return b.String(), known
}

// operator splits "%NAME(arg):limit%" off the front of s and says how long it is.
func operator(s string) (name, arg string, limit, n int, ok bool) {
	limit = -1
	i := 1
	for i < len(s) && (s[i] == '_' || 'A' <= s[i] && s[i] <= 'Z' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	name = s[1:i]
	if name == "" {
		return
	}
	if i < len(s) && s[i] == '(' {
		end := strings.Index(s[i:], ")")
		if end < 0 {
			return
		}
		arg = s[i+1 : i+end]
		i += end + 1
	}
	if i < len(s) && s[i] == ':' {
		j := i + 1
		for j < len(s) && '0' <= s[j] && s[j] <= '9' {
			j++
		}
		if l, err := strconv.Atoi(s[i+1 : j]); err == nil {
			limit = l
		}
		i = j
	}
	if i >= len(s) || s[i] != '%' {
		return
	}
	return name, arg, limit, i + 1, true
}

// operand is the value of one operator; a header that is absent is empty.
func operand(name, arg string, req *matcher.Request, resp []matcher.Header) (string, bool) {
	addr := func(ap netip.AddrPort, port bool) (string, bool) {
		if !ap.IsValid() {
			return "", false
		}
		if port {
			return ap.String(), true
		}
		return ap.Addr().Unmap().String(), true
	}
	header := func(get func(string) []string) string {
		first, second, _ := strings.Cut(arg, "?")
		for _, n := range []string{first, second} {
			if n == "" {
				continue
			}
			if v := get(n); len(v) > 0 {
				return v[0]
			}
		}
		return ""
	}
	remote := req.Conn.Remote
	if !remote.IsValid() {
		remote = req.Conn.DirectRemote
	}
	switch name {
	case "REQ", "REQUEST_HEADER":
		return header(req.Values), true
	case "RESP", "RESPONSE_HEADER":
		return header((&matcher.Request{Headers: resp}).Values), resp != nil
	case "PROTOCOL":
		return req.Protocol, req.Protocol != ""
	case "REQUESTED_SERVER_NAME":
		return req.Conn.SNI, true
	case "DOWNSTREAM_REMOTE_ADDRESS":
		return addr(remote, true)
	case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
		return addr(remote, false)
	case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS":
		return addr(req.Conn.DirectRemote, true)
	case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT":
		return addr(req.Conn.DirectRemote, false)
	case "DOWNSTREAM_LOCAL_ADDRESS":
		return addr(req.Conn.Destination, true)
	case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
		return addr(req.Conn.Destination, false)
	case "DOWNSTREAM_LOCAL_PORT":
		if !req.Conn.Destination.IsValid() {
			return "", false
		}
		return strconv.Itoa(int(req.Conn.Destination.Port())), true
	case "DYNAMIC_METADATA":
		ns, path, _ := strings.Cut(arg, ":")
		s, ok := req.Env.Metadata[ns]
		if !ok {
			return "", req.Env.MetadataComplete
		}
		key, rest, nested := strings.Cut(path, ":")
		v := s.GetFields()[key]
		for nested {
			key, rest, nested = strings.Cut(rest, ":")
			v = v.GetStructValue().GetFields()[key]
		}
		return v.GetStringValue(), true
	case "FILTER_STATE":
		key, _, _ := strings.Cut(arg, ":")
		v, ok := req.Env.FilterState[key]
		return v, ok || req.Env.FilterStateComplete
	case "DOWNSTREAM_PEER_URI_SAN":
		if t := req.Conn.TLS; t == nil || t.Peer == nil {
			return "", true
		} else if t.Peer.Known {
			return strings.Join(t.Peer.URISANs, ","), true
		}
		return "", false
	default:
		return "", false
	}
}
