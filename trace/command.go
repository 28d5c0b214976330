package trace

import (
	"cmp"
	"strings"
)

// Command is what a person would type to print the observation that q asks for,
// in the form the snapshot keeps it. Commands for a node or for a Pod's own
// namespace run there, as the comment behind them says. A selection narrows the
// list as the query does; [Query.FileCommand] is the command for the whole file.
func (q Query) Command() string {
	switch q.Area {
	case AreaDNS:
		return q.dnsCommand()
	case AreaCluster:
		return q.listCommand()
	case AreaNode:
		if c, ok := hostCommands[q.File]; ok {
			return c + "   # on node " + Quote(q.Name)
		}
	case AreaPod:
		if c, ok := hostCommands[q.File]; ok {
			// A Pod's containers rarely hold the tools or the rights: enter its
			// network namespace from the node.
			return "nsenter --net=$(crictl inspectp $(crictl pods -q --namespace " + Quote(q.Namespace) + " --name " + Quote(q.Name) +
				`) | jq -r '.info.runtimeSpec.linux.namespaces[]|select(.type=="network").path') ` + c + "   # on the Pod's node"
		}
	case AreaProxy:
		pod := "kubectl -n " + Quote(q.Namespace) + " "
		if q.File == "access.log" {
			return pod + "logs " + Quote(q.Name) + " -c istio-proxy"
		}
		if c, ok := adminPaths[q.File]; ok {
			return pod + "exec " + Quote(q.Name) + " -c istio-proxy -- pilot-agent request GET " + Quote(c)
		}
	}
	return ""
}

// FileCommand is the command that makes the file of a snapshot that q.Path
// names: the whole list, whatever q selects.
func (q Query) FileCommand() string {
	q.Select = Selector{}
	return q.Command()
}

var hostCommands = map[string]string{
	"iptables-save.txt":         "iptables-save -c",
	"ip6tables-save.txt":        "ip6tables-save -c",
	"iptables-legacy-save.txt":  "iptables-legacy-save -c",
	"iptables-nft-save.txt":     "iptables-nft-save -c",
	"ip6tables-legacy-save.txt": "ip6tables-legacy-save -c",
	"ip6tables-nft-save.txt":    "ip6tables-nft-save -c",
	"nft-ruleset.json":          "nft -j list ruleset",
	"ipset-save.txt":            "ipset save",
	"ipvsadm-save.txt":          "ipvsadm-save -n",
	"conntrack.txt":             "conntrack -L",
	"conntrack-stats.txt":       "conntrack -S",
	"ip-addr.json":              "ip -j addr",
	"ip-route.json":             "ip -j route",
	"ss.txt":                    "ss -tlnp",
}

var adminPaths = map[string]string{
	"config_dump.json": "config_dump?include_eds",
	"clusters.json":    "clusters?format=json",
	"listeners.json":   "listeners?format=json",
	"certs.json":       "certs",
	"server_info.json": "server_info",
	"stats.txt":        "stats",
}

func (q Query) dnsCommand() string {
	types := strings.FieldsFunc(cmp.Or(q.File, "A,AAAA"), func(r rune) bool { return r == ',' || r == ' ' })
	c := "dig +noall +answer"
	for _, t := range types {
		c += " " + Quote(q.Name) + " " + Quote(t)
	}
	where, who, _ := strings.Cut(q.From, ":")
	switch where {
	case "node":
		return c + "   # on node " + Quote(who)
	case "pod":
		ns, name, _ := strings.Cut(who, "/")
		return "kubectl -n " + Quote(ns) + " exec " + Quote(name) + " -- nslookup " + Quote(q.Name)
	}
	return c
}

func (q Query) listCommand() string {
	c := "kubectl get " + Quote(q.File)
	switch {
	case q.Select.Name != "" && q.Select.Namespace != "":
		c += " -n " + Quote(q.Select.Namespace) + " " + Quote(q.Select.Name)
	case q.Select.Name != "":
		c += " " + Quote(q.Select.Name)
	case q.Select.Namespace != "":
		c += " -n " + Quote(q.Select.Namespace)
	default:
		c += " -A"
	}
	if q.Select.Labels != "" {
		c += " -l " + Quote(q.Select.Labels)
	}
	if q.Select.Fields != "" {
		c += " --field-selector " + Quote(q.Select.Fields)
	}
	c += " -o json"
	if q.File == "secrets" && q.Select.Name == "" {
		// Values must not reach the file.
		c += ` | jq 'del(.items[].metadata.annotations) | (.items[].data | select(.)) |= map_values("REDACTED")'`
	}
	return c
}

// Quote returns s as one word of a POSIX shell.
func Quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-:/,=@%+", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
