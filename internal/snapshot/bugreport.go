package snapshot

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/trace"
)

// bugReport reads the folders of `istioctl bug-report` (Istio's
// tools/bug-report):
//
//	cluster/k8s-resources    one YAML list of Pods, Services, Endpoints, ConfigMaps ...
//	cluster/crs              one YAML list of all custom resources
//	proxies/NS/POD/          certs, clusters, config_dump?include_eds, listeners,
//	                         server_info, netstat, istio-proxy.log
//
// It has no node's rules, no Pod's rules, no EndpointSlices, no nodes and no
// NetworkPolicies as objects.
type bugReport struct {
	st     *store
	prefix string

	mu    sync.Mutex
	lists map[string]*bugList
}

type bugList struct {
	once sync.Once
	obs  trace.Observation
	err  error
}

var clusterFiles = []string{"cluster/k8s-resources", "cluster/crs", "cluster/secrets"}

// proxyFiles are the names that a file of a proxy has had, the '?' being lost
// where the archive was unpacked on a system that does not take it.
var proxyFiles = map[string][]string{
	"config_dump.json": {"config_dump?include_eds", "config_dump_include_eds", "config_dump?include_eds=true", "config_dump%3Finclude_eds", "config_dump"},
	"clusters.json":    {"clusters?format=json", "clusters"},
	"listeners.json":   {"listeners?format=json", "listeners"},
	"certs.json":       {"certs"},
	"server_info.json": {"server_info"},
	"stats.txt":        {"stats"},
	"access.log":       {"istio-proxy.log", "proxy.log"},
}

func findBugReport(st *store) *bugReport {
	for p := range st.files {
		for _, f := range clusterFiles[:2] {
			if prefix, ok := strings.CutSuffix(p, f); ok && (prefix == "" || strings.HasSuffix(prefix, "/")) && strings.Count(prefix, "/") <= 2 {
				return &bugReport{st: st, prefix: prefix, lists: map[string]*bugList{}}
			}
		}
	}
	// Without what the cluster said there are still the proxies.
	var found []string
	for p := range st.files {
		if i := strings.Index(p, "proxies/"); i >= 0 && strings.Count(p[i:], "/") == 3 && slices.Contains(proxyFiles["config_dump.json"], path.Base(p)) {
			found = append(found, p[:i])
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return &bugReport{st: st, prefix: found[0], lists: map[string]*bugList{}}
}

func (b *bugReport) observe(q trace.Query) (trace.Observation, error) {
	switch q.Area {
	case trace.AreaCluster:
		return b.list(q)
	case trace.AreaProxy:
		for _, f := range proxyFiles[q.File] {
			obs, err := b.file(q, "proxies/"+q.Namespace+"/"+q.Name+"/"+f)
			if _, absent := err.(*trace.NotReadError); absent {
				continue
			}
			return obs, err
		}
		if b.st.files[b.prefix+"proxies/"+q.Namespace+"/"+q.Name+"/stats/prometheus"] != nil && q.File == "stats.txt" {
			return trace.Observation{}, notRead(q, "the bug report has the counters as Prometheus takes them only")
		}
	case trace.AreaPod:
		if q.File == "ss.txt" {
			obs, err := b.file(q, "proxies/"+q.Namespace+"/"+q.Name+"/netstat")
			if err == nil {
				obs.Data = sockets(obs.Data)
			}
			return obs, err
		}
	}
	return trace.Observation{}, notRead(q, "a bug report does not have it, or this one does not")
}

func (b *bugReport) file(q trace.Query, name string) (trace.Observation, error) {
	if b.st.files[b.prefix+name] == nil {
		return trace.Observation{}, notRead(q, "not in the bug report")
	}
	data, m, err := b.st.read(b.prefix + name)
	if err != nil {
		return trace.Observation{}, err
	}
	return trace.Observation{Data: data, At: m.mod.UTC()}, nil
}

// list gives all objects of a resource, cut out of the lists of all kinds and
// turned to JSON once.
func (b *bugReport) list(q trace.Query) (trace.Observation, error) {
	kind, group := k8s.KindOf(q.File)
	b.mu.Lock()
	l := b.lists[q.File]
	if l == nil {
		l = &bugList{}
		b.lists[q.File] = l
	}
	b.mu.Unlock()
	l.once.Do(func() {
		if kind == "" {
			l.err = notRead(q, "not in the bug report")
			return
		}
		// Which kinds `kubectl get all,...` asks for is known; of the others only
		// those are there that the cluster defines itself.
		asked := strings.Contains(group, ".istio.io") || group == "gateway.networking.k8s.io"
		var items [][]byte
		file := clusterFiles[0]
		if asked {
			file = clusterFiles[1]
		}
		if q.File == "secrets" {
			file = clusterFiles[2]
		}
		data, m, err := b.st.read(b.prefix + file)
		if err != nil {
			l.err = notRead(q, "not in the bug report")
			return
		}
		if q.File == "secrets" && !bytes.Contains(data, []byte("\nitems:")) {
			l.err = notRead(q, "the bug report only has their names (istioctl bug-report --full-secrets has more)")
			return
		}
		l.obs.At = m.mod.UTC()
		part := cut(data, kind, group)
		if len(part) > 0 {
			found, err := k8s.Items(part)
			if err != nil {
				l.err = inputError(path.Join(b.st.name, b.prefix+file), err)
				return
			}
			for _, it := range found {
				if g, _, ok := strings.Cut(it.APIVersion, "/"); it.Kind == kind && (ok && g == group || !ok && group == "") {
					items = append(items, it.Raw)
				}
			}
		}
		if len(items) == 0 && !asked && !slices.Contains(everPresent, q.File) {
			l.err = notRead(q, "not in the bug report")
			return
		}
		l.obs.Data = joinList(items)
	})
	if nr, ok := l.err.(*trace.NotReadError); ok {
		again := *nr
		again.Query, again.Command = q, q.FileCommand()
		return trace.Observation{}, &again
	}
	return l.obs, l.err
}

// everPresent are the resources that a bug report asks for, so that none in it
// means none in the cluster.
var everPresent = []string{"pods", "services", "endpoints", "configmaps", "namespaces", "deployments.apps", "ingresses.networking.k8s.io"}

// cut leaves in a YAML list only the items that may be of the kind, without
// reading them: turning YAML into objects is what costs. What is not laid out as
// kubectl prints it is given whole.
func cut(data []byte, kind, group string) []byte {
	_, rest, ok := bytes.Cut(data, []byte("\nitems:\n"))
	if !ok {
		return data
	}
	var out []byte
	want := []byte("\n  kind: " + kind + "\n")
	version := []byte("apiVersion: " + group + "/")
	if group == "" {
		version = []byte("apiVersion: v1")
	}
	for len(rest) > 0 {
		end := len(rest)
		if i := bytes.Index(rest[1:], []byte("\n- ")); i >= 0 {
			end = i + 2
		}
		it := rest[:end]
		if !bytes.HasPrefix(it, []byte("- ")) && !bytes.HasPrefix(it, []byte("-\n")) {
			return data
		}
		if tail := bytes.Index(it, []byte("\nkind: ")); tail >= 0 {
			it = it[:tail+1] // the list's own members, behind the last item
		}
		first, _, _ := bytes.Cut(it, []byte("\n"))
		if bytes.Contains(it, want) && (bytes.Contains(first, version) || !bytes.HasPrefix(first, []byte("- apiVersion:"))) {
			out = append(out, it...)
		}
		rest = rest[end:]
	}
	if len(out) == 0 {
		return nil
	}
	return append([]byte("apiVersion: v1\nkind: List\nitems:\n"), out...)
}

// joinList writes a list as kubectl does.
func joinList(items [][]byte) []byte {
	var out bytes.Buffer
	out.WriteString(`{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":[`)
	for i, it := range items {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
		out.Write(it)
	}
	out.WriteString("\n]}\n")
	return out.Bytes()
}

// inputError makes a broken list's error one that names the file.
func inputError(file string, err error) error {
	if de, ok := err.(*k8s.DecodeError); ok {
		return &trace.InputError{File: file, Line: de.Line, Column: de.Column, Offset: de.Offset, Msg: de.Msg}
	}
	return &trace.InputError{File: file, Msg: err.Error()}
}

// sockets turns the listening sockets of `netstat -natpw` into what `ss -tlnp`
// prints, which is what a snapshot has.
func sockets(netstat []byte) []byte {
	out := []byte("State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\n")
	for line := range bytes.Lines(netstat) {
		f := strings.Fields(string(line))
		if len(f) < 6 || !strings.HasPrefix(f[0], "tcp") || f[5] != "LISTEN" {
			continue
		}
		local, peer := f[3], f[4]
		if f[0] == "tcp6" || strings.Count(local, ":") > 1 {
			local, peer = bracketed(local), bracketed(peer)
		}
		process := ""
		if len(f) > 6 && f[6] != "-" {
			if pid, name, ok := strings.Cut(f[6], "/"); ok {
				process = fmt.Sprintf(" users:((%q,pid=%s))", name, pid)
			}
		}
		out = fmt.Appendf(out, "LISTEN %s %s %s %s%s\n", f[1], f[2], local, peer, process)
	}
	return out
}

// bracketed writes netstat's ":::80" as ss writes it, "[::]:80".
func bracketed(s string) string {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s
	}
	return "[" + s[:i] + "]" + s[i:]
}
