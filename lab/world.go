package lab

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// World is a snapshot: its files by their path, cluster/pods.json and so on.
type World map[string][]byte

// ReadWorld reads a snapshot from a folder or a .tar.gz.
func ReadWorld(name string) (World, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	w := World{}
	if info.IsDir() {
		err = filepath.WalkDir(name, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(name, p)
			if err != nil {
				return err
			}
			w[filepath.ToSlash(rel)], err = os.ReadFile(p)
			return err
		})
	} else {
		err = w.readTar(name)
	}
	if err != nil {
		return nil, fmt.Errorf("world %s: %w", name, err)
	}
	if w["snapshot.json"] == nil || w["cluster/nodes.json"] == nil {
		return nil, fmt.Errorf("world %s: no snapshot.json or no cluster/nodes.json in it", name)
	}
	return w, nil
}

func (w World) readTar(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if w[path.Clean(h.Name)], err = io.ReadAll(r); err != nil {
			return err
		}
	}
}

type object = map[string]any

// items are the objects of one list of the world.
func (w World) items(file string) ([]object, error) {
	data := w["cluster/"+file+".json"]
	if data == nil {
		return nil, nil
	}
	var list struct{ Items []object }
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("cluster/%s.json: %w", file, err)
	}
	return list.Items, nil
}

// at returns what a chain of keys leads to, nil where there is nothing.
func at(o any, keys ...string) any {
	for _, k := range keys {
		m, ok := o.(object)
		if !ok {
			return nil
		}
		o = m[k]
	}
	return o
}

func str(o any, keys ...string) string {
	s, _ := at(o, keys...).(string)
	return s
}

// node is one node of the world.
type node struct {
	name    string
	addr    netip.Addr
	podCIDR netip.Prefix
	ns      string // network namespace
}

// pod is one Pod of the world that has an address of its own.
type pod struct {
	namespace, name string
	node            string
	addr            netip.Addr
	containers      []string
	ns              string // network namespace; the node's for a Pod on the host's network
	host            bool
}

func (p *pod) key() string { return p.namespace + "/" + p.name }

func (w World) nodes() ([]*node, error) {
	items, err := w.items("nodes")
	if err != nil {
		return nil, err
	}
	var out []*node
	for _, it := range items {
		n := &node{name: str(it, "metadata", "name")}
		addrs, _ := at(it, "status", "addresses").([]any)
		for _, a := range addrs {
			if str(a, "type") == "InternalIP" && !n.addr.IsValid() {
				n.addr, _ = netip.ParseAddr(str(a, "address"))
			}
		}
		n.podCIDR, _ = netip.ParsePrefix(str(it, "spec", "podCIDR"))
		if !n.addr.Is4() || !n.podCIDR.IsValid() {
			return nil, fmt.Errorf("node %s: the lab needs an IPv4 InternalIP and a podCIDR", n.name)
		}
		out = append(out, n)
	}
	return out, nil
}

func (w World) pods() ([]*pod, error) {
	items, err := w.items("pods")
	if err != nil {
		return nil, err
	}
	var out []*pod
	for _, it := range items {
		p := &pod{
			namespace: str(it, "metadata", "namespace"), name: str(it, "metadata", "name"),
			node: str(it, "spec", "nodeName"),
		}
		p.host, _ = at(it, "spec", "hostNetwork").(bool)
		p.addr, _ = netip.ParseAddr(str(it, "status", "podIP"))
		for _, kind := range []string{"containers", "initContainers"} {
			list, _ := at(it, "spec", kind).([]any)
			for _, c := range list {
				p.containers = append(p.containers, str(c, "name"))
			}
		}
		out = append(out, p)
	}
	return out, nil
}

var clusterCIDR = regexp.MustCompile(`! -s ([0-9./]+) -d [0-9./]+ .*cluster IP" .*-j KUBE-MARK-MASQ`)

// clusterCIDR is the range of all Pods as the world's kube-proxy knew it.
func (w World) clusterCIDR(nodes []*node) string {
	for name, data := range w {
		if strings.HasPrefix(name, "nodes/") && strings.HasSuffix(name, "/iptables-save.txt") {
			if m := clusterCIDR.FindSubmatch(data); m != nil {
				return string(m[1])
			}
		}
	}
	if len(nodes) == 1 {
		return nodes[0].podCIDR.String()
	}
	return netip.PrefixFrom(nodes[0].podCIDR.Addr(), 16).Masked().String()
}

// dnsService is the address of the cluster's DNS, as kubelets are told it.
func (w World) dnsService() string {
	services, _ := w.items("services")
	for _, s := range services {
		if str(s, "metadata", "namespace") == "kube-system" && str(s, "metadata", "name") == "kube-dns" {
			return str(s, "spec", "clusterIP")
		}
	}
	return "10.96.0.10" // kubeadm's
}
