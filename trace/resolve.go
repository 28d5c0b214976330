package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseResolve reads one --resolve as curl takes it, HOST:PORT:ADDR, and with a
// port behind the address, HOST:PORT:ADDR:PORT, to connect elsewhere than asked.
// HOST is a name, an address or *; an IPv6 address may stand in brackets, and must
// where a port follows it. A plus sign in front, curl's mark for an entry that
// times out, means nothing here. It returns an entry of [Target.Resolve].
func ParseResolve(s string) (hostPort, addr string, err error) {
	bad := func(why string) error {
		return fmt.Errorf("resolve %q: %s; want HOST:PORT:ADDR[:PORT]", clip(s), why)
	}
	rest := strings.TrimPrefix(s, "+")
	if strings.HasPrefix(rest, "-") {
		return "", "", bad("there is nothing to take back")
	}
	var host string
	if h, ok := strings.CutPrefix(rest, "["); ok {
		if host, rest, ok = strings.Cut(h, "]:"); !ok {
			return "", "", bad("the bracket is not closed")
		}
	} else if host, rest, ok = strings.Cut(rest, ":"); !ok {
		return "", "", bad("no port")
	}
	port, addr, ok := strings.Cut(rest, ":")
	if !ok {
		return "", "", bad("no address")
	}
	hostPort, addr, err = resolveEntry(host, port, addr)
	if err != nil {
		return "", "", bad(err.Error())
	}
	return hostPort, addr, nil
}

// ParseResolvePair reads the same as a pair, as a table of them is written:
// "host:port" to "addr" or "addr:port".
func ParseResolvePair(hostPort, addr string) (key, to string, err error) {
	i := strings.LastIndexByte(hostPort, ':')
	if i < 0 {
		return "", "", fmt.Errorf("resolve %q: no port; want host:port", clip(hostPort))
	}
	key, to, err = resolveEntry(strings.Trim(hostPort[:i], "[]"), hostPort[i+1:], addr)
	if err != nil {
		return "", "", fmt.Errorf("resolve %q to %q: %w", clip(hostPort), clip(addr), err)
	}
	return key, to, nil
}

func resolveEntry(host, port, addr string) (hostPort, to string, err error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host != "*" {
		if err := checkHost(host); err != nil {
			return "", "", err
		}
		if a, err := netip.ParseAddr(host); err == nil {
			host = a.String()
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", "", fmt.Errorf("port %q is not in 1-65535", clip(port))
	}
	hostPort = host + ":" + strconv.FormatUint(n, 10)
	if strings.Contains(addr, ",") {
		return "", "", fmt.Errorf("several addresses; one is traced at a time")
	}
	if a, err := parseAddr(addr); err == nil {
		return hostPort, a.String(), nil
	}
	if inner, ok := strings.CutPrefix(addr, "["); ok && strings.HasSuffix(inner, "]") {
		if a, err := parseAddr(strings.TrimSuffix(inner, "]")); err == nil && a.Is6() {
			return hostPort, a.String(), nil
		}
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return "", "", fmt.Errorf("%q is not an address", clip(addr))
	}
	return hostPort, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String(), nil
}

// parseAddr reads an address that means the same on every machine.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() != "" {
		return a, fmt.Errorf("address %q has a zone, which means something on one machine only", s)
	}
	return a.Unmap(), err
}

// clip shortens what a person typed for a message.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
