package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what lab is wanted.
type Config struct {
	World World
	// Bin is the folder of etcd, kube-apiserver, kube-proxy and kwok; see Install.
	Bin string
	// Dir is where the lab keeps its files; empty is a new temporary folder.
	// Close removes it.
	Dir string
	// ProxyMode is kube-proxy's --proxy-mode; empty is iptables.
	ProxyMode string
	// Users are known to the API server besides the administrator, by name, with
	// no rights but those the world or RBAC objects give them.
	Users []string
	// Log is told what is being done; nil discards it.
	Log func(format string, args ...any)
}

// Lab is a running cluster.
type Lab struct {
	world  World
	nodes  []*node
	pods   []*pod
	dir    string
	bin    string
	prefix string // of the names of its network namespaces

	starter *starter
	admin   *api
	tokens  map[string]string

	client     string // network namespace of the outside
	clientAddr netip.Addr
	apiPort    int
	apiserver  *process
	kwokAddr   string
	dnsPort    int
	admins     map[string]*admin

	kubelet    *kubelet
	endlessLog atomic.Pointer[string]
	debugFault atomic.Int32
	debugMade  atomic.Int32

	kubeletHangs atomic.Bool
	kubeletsHung atomic.Int64 // connections that were left hanging

	mu         sync.Mutex
	procs      []*process
	namespaces []string
	closers    []io.Closer
	printed    map[string][]byte // by namespace/Pod/container: logs of Pods that the lab runs
}

// State is what `lab down` and `lab status` need to know about a lab that
// another process runs. It is in state.json of the lab's folder.
type State struct {
	PID        int               `json:"pid"`
	Ready      bool              `json:"ready"`
	Prefix     string            `json:"prefix"` // of the network namespaces
	Kubeconfig string            `json:"kubeconfig"`
	Resolver   string            `json:"resolver"`
	Server     string            `json:"server"`
	Nodes      map[string]string `json:"nodes"` // network namespace of each node
	Client     string            `json:"client"`
}

// components are the programs that a lab runs.
var components = []string{"etcd", "kube-apiserver", "kube-proxy", "kwok"}

// Missing names what this machine lacks to run a lab; nothing means it can.
func Missing(bin string) []string {
	var out []string
	if os.Geteuid() != 0 {
		out = append(out, "root (network namespaces)")
	}
	for _, p := range components {
		if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
			out = append(out, filepath.Join(bin, p))
		}
	}
	for _, p := range []string{"ip", "sysctl", "iptables-save", "iptables-restore", "conntrack", "ipset"} {
		if _, err := exec.LookPath(p); err != nil {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		if err := rights(); err != nil {
			out = append(out, fmt.Sprintf("the right to make network namespaces with links, settings and rules of their own, as a privileged container has it (%v)", err))
		}
	}
	return out
}

// rights tries once, in a namespace that goes again, what a container without
// privileges may not do.
var rights = sync.OnceValue(func() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ns := newPrefix() + "probe"
	if err := run(ctx, "ip", "netns", "add", ns); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeNamespaces([]string{ns})) }()
	if err := batch(ctx, ns, "link set lo up", "link add br0 type bridge", "link add v0 type veth peer name v1", "link set v0 master br0 up"); err != nil {
		return err
	}
	if err := sysctl(ctx, ns, "net.ipv4.ip_forward=1"); err != nil {
		return err
	}
	return runInput(ctx, []byte("*nat\n-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80\nCOMMIT\n"), "ip", "netns", "exec", ns, "iptables-restore")
})

// newPrefix begins the names of the namespaces of one lab, and of no other.
func newPrefix() string {
	id := make([]byte, 4)
	rand.Read(id)
	return "htlab-" + hex.EncodeToString(id) + "-"
}

// Start builds the network, starts the programs and loads the world. When it
// returns, kube-proxy has programmed every node.
func Start(ctx context.Context, c Config) (_ *Lab, err error) {
	if missing := Missing(c.Bin); len(missing) > 0 {
		return nil, fmt.Errorf("the lab needs %s", strings.Join(missing, ", "))
	}
	log := c.Log
	if log == nil {
		log = func(string, ...any) {}
	}
	l := &Lab{
		world: c.World, dir: c.Dir, bin: c.Bin, prefix: newPrefix(),
		starter: newStarter(), tokens: map[string]string{}, admins: map[string]*admin{}, printed: map[string][]byte{},
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.dir == "" {
		if l.dir, err = os.MkdirTemp("", "hoptrail-lab-"); err != nil {
			return nil, err
		}
	} else if err = os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	if l.nodes, err = c.World.nodes(); err != nil {
		return nil, err
	}
	if l.pods, err = c.World.pods(); err != nil {
		return nil, err
	}
	for _, n := range l.nodes {
		l.pods = append(l.pods, &pod{namespace: "kube-system", name: kubeProxyName(n), node: n.name, addr: n.addr, host: true, containers: []string{"kube-proxy"}})
	}
	if err = l.writeState(false); err != nil {
		return nil, err
	}
	log("network: %d nodes, %d Pods", len(l.nodes), len(l.pods))
	if err = l.buildNetwork(ctx); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"what the Pods listen on", l.listenPods},
		{"admin APIs", l.serveAdmins},
		{"DNS", l.serveDNS},
		{"etcd and kube-apiserver", func() error { return l.startAPI(ctx, c.Users) }},
		{"objects", func() error { return l.load(ctx) }},
		{"kubelets", func() error { return l.startKwok(ctx) }},
		{"kube-proxy", func() error { return l.startProxies(ctx, c.ProxyMode) }},
	} {
		log("%s", step.what)
		if err = step.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	l.runDebugPods()
	return l, l.writeState(true)
}

func (l *Lab) writeState(ready bool) error {
	s := State{PID: os.Getpid(), Ready: ready, Prefix: l.prefix, Client: l.client, Nodes: map[string]string{}}
	for _, n := range l.nodes {
		s.Nodes[n.name] = n.ns
	}
	if ready {
		s.Kubeconfig, s.Resolver, s.Server = l.Kubeconfig(""), l.Resolver(), l.Server()
	}
	j, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(l.dir, "state.json.new")
	if err := os.WriteFile(tmp, j, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(l.dir, "state.json"))
}

// Server is the URL of the API server.
func (l *Lab) Server() string { return "https://127.0.0.1:" + strconv.Itoa(l.apiPort) }

// Resolver is the address of a name server that knows the world's names.
func (l *Lab) Resolver() string { return "127.0.0.1:" + strconv.Itoa(l.dnsPort) }

// Dir is the folder with the lab's files and the logs of its programs.
func (l *Lab) Dir() string { return l.dir }

// NodeNamespace is the network namespace of a node.
func (l *Lab) NodeNamespace(name string) string {
	if n := l.nodeOf(name); n != nil {
		return n.ns
	}
	return ""
}

// Kubeconfig writes, if need be, the kubeconfig of a user and returns its name;
// "" is the administrator.
func (l *Lab) Kubeconfig(user string) string {
	if user == "" {
		user = "admin"
	}
	name := filepath.Join(l.dir, user+".kubeconfig")
	if _, err := os.Stat(name); err == nil {
		return name
	}
	if err := l.writeKubeconfig(name, user, l.Server()); err != nil {
		return ""
	}
	return name
}

func (l *Lab) writeKubeconfig(name, user, server string) error {
	config := object{
		"apiVersion": "v1", "kind": "Config", "current-context": "lab",
		"clusters": []object{{"name": "lab", "cluster": object{"server": server, "certificate-authority": filepath.Join(l.dir, "certs", "apiserver.crt"), "tls-server-name": "kubernetes.default.svc"}}},
		"users":    []object{{"name": user, "user": object{"token": l.tokens[user]}}},
		"contexts": []object{{"name": "lab", "context": object{"cluster": "lab", "user": user}}},
	}
	j, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, j, 0o600)
}

func (l *Lab) startAPI(ctx context.Context, users []string) error {
	ports, err := l.ports(3)
	if err != nil {
		return err
	}
	if err := l.writeKeys(); err != nil {
		return err
	}
	etcdURL := "http://127.0.0.1:" + strconv.Itoa(ports[0])
	peer := "http://127.0.0.1:" + strconv.Itoa(ports[1])
	etcd, err := l.spawn("etcd", nil, filepath.Join(l.bin, "etcd"),
		"--data-dir", filepath.Join(l.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	if err != nil {
		return err
	}
	if err := etcd.waitFor(ctx, func() bool { return answers(ctx, etcdURL+"/health") }); err != nil {
		return err
	}
	var tokens bytes.Buffer
	for i, user := range append([]string{"admin", "system:kube-proxy"}, users...) {
		token := make([]byte, 16)
		rand.Read(token)
		l.tokens[user] = hex.EncodeToString(token)
		fmt.Fprintf(&tokens, "%s,%s,%d", l.tokens[user], user, i)
		if user == "admin" {
			tokens.WriteString(`,"system:masters"`)
		}
		tokens.WriteByte('\n')
	}
	for name, data := range map[string][]byte{"tokens.csv": tokens.Bytes(), "egress.yaml": l.egressConfig(), "audit.yaml": []byte(auditPolicy)} {
		if err := os.WriteFile(filepath.Join(l.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	if err := l.serveKubelet(); err != nil {
		return err
	}
	if err := l.serveEgress(); err != nil {
		return err
	}
	l.apiPort = ports[2]
	l.admin = newAPI(l.Server(), l.tokens["admin"])
	l.apiserver, err = l.spawn("kube-apiserver", nil, filepath.Join(l.bin, "kube-apiserver"),
		"--etcd-servers", etcdURL,
		"--service-account-issuer", "https://lab", "--service-account-key-file", "sa.pub", "--service-account-signing-key-file", "sa.key",
		"--token-auth-file", "tokens.csv", "--authorization-mode", "RBAC", "--anonymous-auth=false",
		"--bind-address", "127.0.0.1", "--advertise-address", l.nodes[0].addr.String(), "--secure-port", strconv.Itoa(l.apiPort),
		"--endpoint-reconciler-type", "none",
		"--cert-dir", "certs", "--service-cluster-ip-range", "10.96.0.0/12", "--allow-privileged=true",
		"--kubelet-preferred-address-types", "InternalIP", "--egress-selector-config-file", "egress.yaml",
		"--audit-policy-file", "audit.yaml", "--audit-log-path", "audit.log", "--audit-log-mode", "blocking",
		// Objects are loaded as they are, and nobody makes service accounts.
		"--disable-admission-plugins", "ServiceAccount,Priority,DefaultTolerationSeconds,TaintNodesByCondition,LimitRanger,ResourceQuota",
		"--max-requests-inflight", "1000", "--max-mutating-requests-inflight", "500",
		"--profiling=false", "--v", "1")
	if err != nil {
		return err
	}
	return l.apiserver.waitFor(ctx, func() bool {
		_, err := l.admin.try(ctx, http.MethodGet, "/readyz", nil)
		return err == nil
	})
}

// auditPolicy: what the lab's own users ask for is not written down.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [admin, "system:kube-proxy", "system:apiserver"]
- level: Metadata
`

// Asked is one request that a user made of the API server, as its audit log says.
type Asked struct {
	User     string
	Verb     string
	Group    string
	Resource string // with the subresource: pods/log; the path where it is no resource
	Code     int
}

// Asked is what all users but the lab's own have asked of the API server so far, in
// the order in which the answers began. A request is there before its client has
// its answer, or its connection to a Pod.
func (l *Lab) Asked() ([]Asked, error) {
	data, err := os.ReadFile(filepath.Join(l.dir, "audit.log"))
	if err != nil {
		return nil, err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1] // the rest is being written
	var out []Asked
	seen := map[string]int{} // by audit id: of what takes long the begin and the end are written
	for line := range bytes.Lines(data) {
		var e struct {
			AuditID, RequestURI, Verb string
			User                      struct{ Username string }
			ObjectRef                 *struct{ Resource, Subresource, APIGroup string }
			ResponseStatus            struct{ Code int }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if i, ok := seen[e.AuditID]; ok {
			out[i].Code = e.ResponseStatus.Code
			continue
		}
		a := Asked{User: e.User.Username, Verb: e.Verb, Resource: e.RequestURI, Code: e.ResponseStatus.Code}
		if r := e.ObjectRef; r != nil {
			a.Group, a.Resource = r.APIGroup, r.Resource
			if r.Subresource != "" {
				a.Resource += "/" + r.Subresource
			}
		}
		seen[e.AuditID] = len(out)
		out = append(out, a)
	}
	return out, nil
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (l *Lab) startKwok(ctx context.Context) error {
	ports, err := l.ports(1)
	if err != nil {
		return err
	}
	l.kwokAddr = "127.0.0.1:" + strconv.Itoa(ports[0])
	config, err := l.kwokConfig()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "kwok.yaml"), config, 0o600); err != nil {
		return err
	}
	tools, err := l.writeToolbox()
	if err != nil {
		return err
	}
	kwok, err := l.spawn("kwok", []string{"PATH=" + tools, "HOME=" + l.dir}, filepath.Join(l.bin, "kwok"),
		"--kubeconfig", l.Kubeconfig(""), "--config", "kwok.yaml", "--manage-all-nodes", "--node-lease-duration-seconds", "0",
		"--node-ip", "127.0.0.1", "--node-port", strconv.Itoa(ports[0]), "--server-address", l.kwokAddr,
		"--tls-cert-file", "kwok.crt", "--tls-private-key-file", "kwok.key")
	if err != nil {
		return err
	}
	return kwok.waitFor(ctx, func() bool {
		c, err := net.DialTimeout("tcp", l.kwokAddr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (l *Lab) startProxies(ctx context.Context, mode string) error {
	if mode == "" {
		mode = "iptables"
	}
	cidr := l.world.clusterCIDR(l.nodes)
	var proxies []*process
	for _, n := range l.nodes {
		// The node's way to the API server, at the same address as here.
		if err := l.relay(n.ns, l.apiPort, "127.0.0.1:"+strconv.Itoa(l.apiPort)); err != nil {
			return err
		}
		p, err := l.spawn("kube-proxy-"+n.name, nil, "ip", "netns", "exec", n.ns, filepath.Join(l.bin, "kube-proxy"),
			"--kubeconfig", l.Kubeconfig("system:kube-proxy"), "--hostname-override", n.name, "--proxy-mode", mode,
			"--cluster-cidr", cidr, "--conntrack-max-per-core", "0",
			"--metrics-bind-address", "127.0.0.1:10249", "--healthz-bind-address", "127.0.0.1:10256",
			"--iptables-min-sync-period", "200ms", "--iptables-sync-period", "30s")
		if err != nil {
			return err
		}
		proxies = append(proxies, p)
	}
	for i, p := range proxies {
		ns := l.nodes[i].ns
		if err := p.waitFor(ctx, func() bool { return l.programmed(ctx, ns, mode) }); err != nil {
			return err
		}
	}
	return nil
}

// programmed says whether a node's rules name every cluster address of the
// world.
func (l *Lab) programmed(ctx context.Context, ns, mode string) bool {
	argv := []string{"netns", "exec", ns, "iptables-save"}
	switch mode {
	case "nftables":
		argv = []string{"netns", "exec", ns, "nft", "list", "ruleset"}
	case "ipvs":
		argv = []string{"netns", "exec", ns, "ipvsadm-save", "-n"}
	}
	out, err := exec.CommandContext(ctx, "ip", argv...).Output()
	if err != nil {
		return false
	}
	services, err := l.world.items("services")
	if err != nil {
		return false
	}
	for _, s := range services {
		if ip := str(s, "spec", "clusterIP"); ip != "" && ip != "None" && !bytes.Contains(out, []byte(ip)) {
			return false
		}
	}
	return true
}

// WaitRules waits until the rules of a node hold all of texts and none of those
// with a ! before them.
func (l *Lab) WaitRules(ctx context.Context, node string, texts ...string) error {
	n := l.nodeOf(node)
	if n == nil {
		return fmt.Errorf("the lab has no node %s", node)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", n.ns, "iptables-save").Output()
		if err == nil && !slices.ContainsFunc(texts, func(t string) bool {
			want, not := strings.CutPrefix(t, "!")
			return bytes.Contains(out, []byte(want)) == not
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the rules of node %s never showed %q:\n%s", node, texts, out)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Do sends a request to the API server as its administrator; body is JSON or
// nil. It is how a test changes the cluster.
func (l *Lab) Do(ctx context.Context, method, path string, body any) ([]byte, error) {
	return l.admin.do(ctx, method, path, body)
}

// KillAPIServer ends the API server at once, as a crash would.
func (l *Lab) KillAPIServer() {
	l.apiserver.cmd.Process.Kill()
	<-l.apiserver.done
}

// Close ends the lab and leaves nothing behind.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs, namespaces, closers := l.procs, l.namespaces, l.closers
	l.procs, l.namespaces, l.closers = nil, nil, nil
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range slices.Backward(procs) {
		wg.Go(p.stop)
	}
	wg.Wait()
	for _, c := range closers {
		c.Close()
	}
	l.starter.close()
	errs := []error{removeNamespaces(namespaces)}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

func removeNamespaces(names []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	for _, ns := range names {
		if err := run(ctx, "ip", "netns", "del", ns); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ReadState reads the state of the lab in dir.
func ReadState(dir string) (State, error) {
	var s State
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// Clean removes what a lab left behind whose process is gone, when the programs
// it had started are gone, too: the kernel ends them, each in its own time.
func Clean(dir string) error {
	s, err := ReadState(dir)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(s.Prefix, "htlab-") || len(s.Prefix) < len("htlab-000000-") {
		return fmt.Errorf("%s: %q is no prefix of a lab's namespaces", dir, s.Prefix)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		running := programs(dir)
		if len(running) == 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: still running: %s", dir, strings.Join(running, ", "))
		}
	}
	names, err := filepath.Glob("/run/netns/" + s.Prefix + "*")
	if err != nil {
		return err
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return errors.Join(removeNamespaces(names), os.RemoveAll(dir))
}
