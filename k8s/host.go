package k8s

import (
	"net/netip"
	"slices"
	"strings"
)

// ResolveHost gives the full name that a host in an object of namespace ns means
// to Istio: a name without a dot is a Service beside the object; a wildcard, an
// address and a name with a dot stay as they are.
func ResolveHost(host, ns string) string {
	if host == "" || host == "*" || ns == "" || strings.Contains(host, ".") {
		return host
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return host + "." + ns + ".svc.cluster.local"
}

// HostMatches says whether a pattern (a name, "*.suffix", "*") takes a host.
// Letters' case and a dot at the end are of no account.
func HostMatches(pattern, host string) bool {
	pattern, host = canonical(pattern), canonical(host)
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	}
	return pattern == host
}

// HostsOverlap says whether two patterns have a host in common.
func HostsOverlap(a, b string) bool {
	a, b = canonical(a), canonical(b)
	sa, wa := strings.CutPrefix(a, "*")
	sb, wb := strings.CutPrefix(b, "*")
	switch {
	case wa && wb:
		return strings.HasSuffix(sa, sb) || strings.HasSuffix(sb, sa)
	case wa:
		return HostMatches(a, b)
	default:
		return HostMatches(b, a)
	}
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// SplitHost splits the "ns/host" of a Gateway's or a Sidecar's hosts; ns is ""
// where none is given.
func SplitHost(s string) (ns, host string) {
	ns, host, ok := strings.Cut(s, "/")
	if !ok {
		return "", s
	}
	return ns, host
}

// Visible says whether an object of namespace ns that is exported to exportTo is
// seen from the namespace from: "." is its own, "*" all, "~" none. An empty list
// is all, which is the mesh's default unless its configuration says otherwise.
func Visible(exportTo []string, ns, from string) bool {
	if len(exportTo) == 0 {
		return true
	}
	return slices.ContainsFunc(exportTo, func(e string) bool {
		return e == "*" || e == from || e == "." && ns == from
	})
}

// moreSpecific sorts host patterns as Istio chooses among those that match: a
// name before a wildcard, the longer wildcard before the shorter one.
func moreSpecific(a, b string) int {
	wa, wb := strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*")
	if wa != wb {
		return boolOrder(!wa, !wb)
	}
	return len(b) - len(a)
}
