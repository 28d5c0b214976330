package live

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// nodeCommands are the programs behind the files of a node.
var nodeCommands = map[string][]command{
	"iptables-save.txt":         {{argv: []string{"iptables-save", "-c"}}},
	"iptables-legacy-save.txt":  {{argv: []string{"iptables-legacy-save", "-c"}}},
	"iptables-nft-save.txt":     {{argv: []string{"iptables-nft-save", "-c"}}},
	"ip6tables-save.txt":        {{argv: []string{"ip6tables-save", "-c"}}},
	"ip6tables-legacy-save.txt": {{argv: []string{"ip6tables-legacy-save", "-c"}}},
	"ip6tables-nft-save.txt":    {{argv: []string{"ip6tables-nft-save", "-c"}}},
	"nft-ruleset.json":          {{argv: []string{"nft", "-j", "list", "ruleset"}}},
	"ipset-save.txt":            {{argv: []string{"ipset", "save"}}},
	"ipvsadm-save.txt":          {{argv: []string{"ipvsadm-save", "-n"}}, {argv: []string{"ipvsadm", "-Sn"}}},
	"conntrack.txt":             {{argv: []string{"conntrack", "-L"}}, {argv: []string{"cat", "/proc/net/nf_conntrack"}}},
	"conntrack-stats.txt":       {{argv: []string{"conntrack", "-S"}}},
	"ip-addr.json":              {{argv: []string{"ip", "-j", "addr"}}},
	"ip-route.json":             {{argv: []string{"ip", "-j", "route"}}},
	"ss.txt":                    {{argv: []string{"ss", "-tlnp"}}},
}

// mostNodePods bounds in how many Pods of a node the tools are looked for.
const mostNodePods = 5

// nodeReader finds, once, how the files of one node are read.
type nodeReader struct {
	once  sync.Once
	local bool // this machine is the node

	hereOnce sync.Once // what Options.LocalNode said
	files    map[string][]byte
	notRead  map[string]error
	hereErr  error
	pods     []*podInfo // that share the node's network, the likeliest to have tools first
	err      error

	mu      sync.Mutex
	missing map[string]bool // pod, container and program that is not in it

	batchOnce sync.Once
	batch     map[string][]byte // files that one exec brought together
}

// nodeFile reads one file of a node: on this machine if it is the node, in a
// Pod that has the node's network, or in a Pod made for it where that is allowed.
func (s *Source) nodeFile(ctx context.Context, q trace.Query) ([]byte, error) {
	commands := nodeCommands[q.File]
	if commands == nil {
		return nil, fmt.Errorf("nothing prints %s of a node", q.File)
	}
	s.mu.Lock()
	n := s.nodes[q.Name]
	if n == nil {
		n = &nodeReader{missing: map[string]bool{}}
		s.nodes[q.Name] = n
	}
	s.mu.Unlock()
	n.once.Do(func() {
		if n.local = s.isThisMachine(ctx, q.Name); !n.local {
			n.pods, n.err = s.hostPods(ctx, q.Name)
		}
	})
	if n.local {
		return s.localFile(ctx, n, q.File, commands)
	}
	n.batchOnce.Do(func() { s.execBatch(ctx, n) })
	if data, ok := n.batch[q.File]; ok {
		return data, nil
	}
	why := n.err
	if why == nil {
		data, err := s.execNode(ctx, n, q, commands)
		if err == nil || ctx.Err() != nil {
			return data, err
		}
		why = err
	}
	if s.opts.NodeDebug {
		data, err := s.debugFile(ctx, q)
		if err == nil || ctx.Err() != nil {
			return data, err
		}
		return nil, s.nodeNotRead(q, fmt.Errorf("%w; and with --node-debug: %w", why, err), err, q.Command())
	}
	var api *apiError
	if errors.As(why, &api) {
		return nil, why
	}
	return nil, s.nodeNotRead(q, why, why, q.Command()+", or trace again with --node-debug")
}

// nodeNotRead is a file of a node that could not be read, with the right that was
// missing if refusal is of one: to run a program, to make a debug Pod, or to know
// which Pods there are.
func (s *Source) nodeNotRead(q trace.Query, why, refusal error, command string) *trace.NotReadError {
	nr := &trace.NotReadError{Query: q, Why: why.Error(), Command: command}
	var api *apiError
	var list *trace.NotReadError
	switch {
	case errors.As(refusal, &api) && api.code == http.StatusForbidden:
		nr.Verb, nr.Resource, nr.Namespace, nr.Command = api.verb, api.resource, api.namespace, api.grant(s.user)
	case errors.As(refusal, &list):
		nr.Verb, nr.Resource, nr.Namespace = list.Verb, list.Resource, list.Namespace
	}
	return nr
}

// execNode tries the program in the Pods of the node that share its network.
func (s *Source) execNode(ctx context.Context, n *nodeReader, q trace.Query, commands []command) ([]byte, error) {
	if len(n.pods) == 0 {
		return nil, fmt.Errorf("no running Pod on node %s has the host's network", q.Name)
	}
	var why error
	for _, pod := range n.pods[:min(len(n.pods), mostNodePods)] {
		ns, name := pod.Metadata.Namespace, pod.Metadata.Name
		container := toolContainer(pod)
		for _, c := range commands {
			key := ns + "/" + name + "/" + container + "/" + c.argv[0]
			n.mu.Lock()
			gone := n.missing[key]
			n.mu.Unlock()
			if gone {
				continue
			}
			data, err := s.exec(ctx, ns, name, container, s.opts.MaxBytes, c.argv...)
			if err == nil {
				if c.convert != nil {
					data, err = c.convert(data)
				}
				return data, err
			}
			if ctx.Err() != nil {
				return nil, err
			}
			var failed *execError
			var api *apiError
			switch {
			case errors.As(err, &failed) && failed.missing:
				n.mu.Lock()
				n.missing[key] = true
				n.mu.Unlock()
				if why == nil {
					why = err
				}
			case errors.As(err, &api) && api.code == http.StatusForbidden:
				if why == nil || !errors.As(why, new(*apiError)) {
					why = err // other namespaces may be allowed
				}
			default:
				why = err
			}
		}
	}
	if why == nil {
		why = fmt.Errorf("no Pod with the network of node %s has %s", q.Name, commands[0].argv[0])
	}
	return nil, why
}

// batchFiles are what the walk asks of every node it comes to.
var batchFiles = []string{"iptables-save.txt", "iptables-legacy-save.txt", "conntrack.txt", "conntrack-stats.txt", "ip-addr.json", "ip-route.json"}

// execBatch reads the files the walk will ask for in one go, where the likeliest
// Pod has a shell. What it does not bring is read one by one.
func (s *Source) execBatch(ctx context.Context, n *nodeReader) {
	if len(n.pods) == 0 {
		return
	}
	pod := n.pods[0]
	ns, name, container := pod.Metadata.Namespace, pod.Metadata.Name, toolContainer(pod)
	mark := make([]byte, 8)
	rand.Read(mark) // what a program prints must not end the next one's part
	script := batchScript(hex.EncodeToString(mark))
	data, err := s.exec(ctx, ns, name, container, s.opts.MaxBytes, "sh", "-c", script)
	if err != nil {
		return
	}
	files, missing := splitBatch(data, hex.EncodeToString(mark))
	n.batch = files
	for _, file := range missing {
		n.missing[ns+"/"+name+"/"+container+"/"+nodeCommands[file][0].argv[0]] = true
	}
}

func batchScript(mark string) string {
	var b strings.Builder
	for _, file := range batchFiles {
		fmt.Fprintf(&b, "echo %s %s; %s; r=$?; echo; echo %s $r; ", mark, file, strings.Join(nodeCommands[file][0].argv, " "), mark)
	}
	return b.String()
}

// splitBatch takes the output of a batch apart: a line with the mark and the
// file, what the program printed, an empty line, a line with the mark and the
// exit status. Only files whose program ended well are returned; missing are
// those whose program was not there.
func splitBatch(data []byte, mark string) (files map[string][]byte, missing []string) {
	files = map[string][]byte{}
	for _, file := range batchFiles {
		head := []byte(mark + " " + file + "\n")
		if !bytes.HasPrefix(data, head) {
			return files, missing
		}
		data = data[len(head):]
		i := bytes.Index(data, []byte("\n"+mark+" "))
		if i < 0 {
			return files, missing
		}
		body := data[:i]
		data = data[i+1+len(mark)+1:]
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return files, missing
		}
		switch status := string(data[:end]); status {
		case "0":
			files[file] = body
		case "126", "127":
			missing = append(missing, file)
		}
		data = data[end+1:]
	}
	return files, missing
}

// toolNames are Pods that hold netfilter's tools and may use them, by the
// beginning of their names, the best first.
var toolNames = []string{"kube-proxy", "calico-node", "cilium", "kindnet", "kube-flannel", "canal", "aws-node", "antrea-agent", "kube-router", "weave-net", "ovnkube-node", "azure-", "netd", "istio-cni-node", "node-local-dns", "kube-"}

func toolRank(p *podInfo) int {
	for i, prefix := range toolNames {
		if strings.HasPrefix(p.Metadata.Name, prefix) {
			return i
		}
	}
	return len(toolNames)
}

func toolContainer(p *podInfo) string {
	names := p.containers()
	if d := p.Metadata.Annotations["kubectl.kubernetes.io/default-container"]; slices.Contains(names, d) {
		return d
	}
	for _, prefix := range toolNames {
		for _, n := range names {
			if strings.HasPrefix(n, prefix) {
				return n
			}
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// hostPods lists the running Pods of a node that share its network.
func (s *Source) hostPods(ctx context.Context, node string) ([]*podInfo, error) {
	q := trace.Query{Area: trace.AreaCluster, File: "pods", Select: trace.Selector{Fields: "spec.nodeName=" + node + ",spec.hostNetwork=true"}}
	obs, err := s.Observe(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("the Pods of node %s: %w", node, err)
	}
	items, _, err := splitList(obs.Data, false)
	if err != nil {
		return nil, err
	}
	var pods []*podInfo
	for _, it := range items {
		p, err := parsePod(it.data)
		if err != nil || p.Spec.NodeName != node || !p.Spec.HostNetwork || p.Status.Phase != "Running" {
			continue
		}
		pods = append(pods, p)
	}
	slices.SortStableFunc(pods, func(a, b *podInfo) int { return toolRank(a) - toolRank(b) })
	return pods, nil
}

// nodeInfo is what tells whether a node is this machine.
type nodeInfo struct {
	Metadata struct{ Name string }
	Status   struct {
		Addresses []struct{ Type, Address string }
		NodeInfo  struct {
			BootID string `json:"bootID"`
		}
		Images []struct{ Names []string }
	}
}

func (s *Source) node(ctx context.Context, name string) (*nodeInfo, error) {
	q := trace.Query{Area: trace.AreaCluster, File: "nodes", Select: trace.Selector{Name: name}}
	obs, err := s.Observe(ctx, q)
	if err != nil {
		return nil, err
	}
	items, _, err := splitList(obs.Data, false)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		n := &nodeInfo{}
		if json.Unmarshal(it.data, n) == nil && n.Metadata.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s in the cluster", name)
}

// isThisMachine says whether the node is the machine, and its network the one,
// that this program runs in: the kernel's boot id is the node's, and so is an
// address. Rights are needed to read rules: without root the answer is no.
func (s *Source) isThisMachine(ctx context.Context, node string) bool {
	if os.Geteuid() != 0 {
		return false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return false
	}
	n, err := s.node(ctx, node)
	if err != nil || n.Status.NodeInfo.BootID != string(bytes.TrimSpace(boot)) {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() {
			continue
		}
		for _, have := range n.Status.Addresses {
			if have.Address == ip.IP.String() {
				return true
			}
		}
	}
	return false
}

// localFile reads a file here.
func (s *Source) localFile(ctx context.Context, n *nodeReader, file string, commands []command) ([]byte, error) {
	if s.opts.LocalNode != nil {
		n.hereOnce.Do(func() { n.files, n.notRead, n.hereErr = s.opts.LocalNode(ctx) })
		if n.hereErr != nil {
			return nil, fmt.Errorf("on this machine, which is the node: %w", n.hereErr)
		}
		if data, ok := n.files[file]; ok {
			return data, nil
		}
		if why := n.notRead[file]; why != nil {
			return nil, fmt.Errorf("on this machine, which is the node: %w", why)
		}
	}
	var why error
	for _, c := range commands {
		cmd := osexec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
		cmd.WaitDelay = time.Second
		stdout := &boundedWriter{limit: s.opts.MaxBytes, s: s}
		stderr := &boundedWriter{limit: 4 << 10, s: s}
		cmd.Stdout, cmd.Stderr = stdout, stderr
		err := cmd.Run()
		if err == nil {
			return stdout.take(), nil
		}
		why = fmt.Errorf("%s on this machine: %w: %s", c.argv[0], err, bytes.TrimSpace(stderr.take()))
	}
	return nil, why
}
