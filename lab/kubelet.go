package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The API server reaches a node's kubelet at the node's address. That address
// exists only in the node's namespace, so the API server is told to go through a
// proxy of the lab (an egress selector, KEP-1281), which knows that every
// kubelet is kwok.

const kubeletPort = 10250

func (l *Lab) egressConfig() []byte {
	return []byte(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: ` + l.egressSocket() + "\n")
}

func (l *Lab) egressSocket() string { return filepath.Join(l.dir, "egress") }

// serveEgress answers CONNECT to any kubelet with a connection to the lab's own,
// which passes on to kwok what kwok can do.
func (l *Lab) serveEgress() error {
	ln, err := net.Listen("unix", l.egressSocket())
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.closers = append(l.closers, ln)
	l.mu.Unlock()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go l.connectKubelet(c)
		}
	}()
	return nil
}

func (l *Lab) connectKubelet(c net.Conn) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil || req.Method != http.MethodConnect {
		c.Close()
		return
	}
	if l.kubeletHangs.Load() {
		defer c.Close()
		l.kubeletsHung.Add(1)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		io.Copy(io.Discard, r)
		return
	}
	io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	l.kubelet.take(&bufferedConn{c, r})
}

// HangKubelets makes every kubelet accept connections and say nothing, or ends
// that. Connections that exist are not touched.
func (l *Lab) HangKubelets(hang bool) { l.kubeletHangs.Store(hang) }

// tools are the programs that may be run in containers of the lab; hostTools
// those of a kube-proxy image, podTools those of a proxy's.
var (
	hostTools = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save", "ipset", "conntrack", "nft", "ip", "ipvsadm", "ipvsadm-save", "cat", "ss", "sh"}
	podTools  = []string{"iptables-save", "ip6tables-save", "ip", "ss", "cat", "curl"}
	appTools  = []string{"cat"}
)

// writeToolbox makes the only programs kwok can find: each enters the network
// namespace of the Pod before it runs, and is there only for Pods that have it.
func (l *Lab) writeToolbox() (string, error) {
	dir := filepath.Join(l.dir, "tools")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		return "", err
	}
	for _, tool := range hostTools {
		real, err := exec.LookPath(tool)
		if err != nil {
			continue // this machine has not got it: no image of the lab has
		}
		body := fmt.Sprintf("exec %s netns exec \"$LAB_NETNS\" %s \"$@\"", ip, real)
		if tool == "cat" { // the file that a kubelet writes for each Pod
			body = "[ \"$1\" = /etc/resolv.conf ] && [ -n \"$LAB_RESOLV\" ] && set -- \"$LAB_RESOLV\"; " + body
		}
		if err := l.writeTool(dir, tool, body); err != nil {
			return "", err
		}
	}
	if curl, err := exec.LookPath("curl"); err == nil {
		body := fmt.Sprintf("exec %s netns exec \"$LAB_NETNS\" %s", ip, curl)
		if err := l.writeTool(dir, "curl", body+" \"$@\""); err != nil {
			return "", err
		}
		if err := l.writeTool(dir, "pilot-agent", body+" -sS --fail \"http://127.0.0.1:15000/$3\""); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (l *Lab) writeTool(dir, tool, body string) error {
	script := "#!/bin/sh\ncase \" $LAB_TOOLS \" in\n*\" " + tool + " \"*) " + body + ";;\nesac\n" +
		"echo 'exec: \"" + tool + "\": executable file not found in $PATH' >&2\nexit 127\n"
	return os.WriteFile(filepath.Join(dir, tool), []byte(script), 0o755)
}

// kwokConfig says what kwok answers for each Pod: where its log is, where its
// programs run and where its ports lead.
func (l *Lab) kwokConfig() ([]byte, error) {
	var docs []object
	// kwok must not change anything; without any stage it does not start.
	for _, kind := range []string{"Node", "Pod"} {
		docs = append(docs, object{
			"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": object{"name": "never-" + strings.ToLower(kind)},
			"spec": object{
				"resourceRef": object{"apiGroup": "v1", "kind": kind},
				"selector":    object{"matchExpressions": []object{{"key": ".metadata.annotations.lab", "operator": "In", "values": []string{"never"}}}},
				"next":        object{},
			},
		})
	}
	// A Pod that is deleted goes at once, as with a kubelet that has stopped it.
	docs = append(docs, object{
		"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": object{"name": "pod-delete"},
		"spec": object{
			"resourceRef": object{"apiGroup": "v1", "kind": "Pod"},
			"selector":    object{"matchExpressions": []object{{"key": ".metadata.deletionTimestamp", "operator": "Exists"}}},
			"next":        object{"delete": true},
		},
	})
	for _, p := range l.pods {
		meta := object{"name": p.name, "namespace": p.namespace}
		logFile, err := l.writeLog(p)
		if err != nil {
			return nil, err
		}
		docs = append(docs, object{
			"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Logs", "metadata": meta,
			"spec": object{"logs": []object{{"logsFile": logFile, "follow": true}}},
		})
		if p.ns != "" {
			resolv, err := l.writeResolv(p)
			if err != nil {
				return nil, err
			}
			var execs []object
			for _, c := range p.containers {
				tools := appTools
				switch {
				case c == "kube-proxy":
					tools = hostTools
				case c == "istio-proxy":
					tools = append([]string{"pilot-agent"}, podTools...)
				}
				execs = append(execs, object{"containers": []string{c}, "local": object{
					"workDir": l.dir,
					"envs":    []object{{"name": "LAB_NETNS", "value": p.ns}, {"name": "LAB_TOOLS", "value": strings.Join(tools, " ")}, {"name": "LAB_RESOLV", "value": resolv}},
				}})
			}
			docs = append(docs, object{
				"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Exec", "metadata": meta, "spec": object{"execs": execs},
			})
		}
		var forwards []object
		if a := l.admins[p.key()]; a != nil {
			forwards = append(forwards, object{"ports": []int{adminPort}, "target": object{"port": a.port, "address": "127.0.0.1"}})
		}
		if p.isDNS() {
			forwards = append(forwards, object{"ports": []int{53}, "target": object{"port": l.dnsPort, "address": "127.0.0.1"}})
		}
		if len(forwards) > 0 {
			docs = append(docs, object{
				"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "PortForward", "metadata": meta, "spec": object{"forwards": forwards},
			})
		}
	}
	var b bytes.Buffer
	for _, d := range docs {
		j, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		b.WriteString("---\n")
		b.Write(j)
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// writeResolv writes the resolv.conf of a Pod with a network of its own.
func (l *Lab) writeResolv(p *pod) (string, error) {
	if p.host {
		return "", nil
	}
	dir := filepath.Join(l.dir, "resolv")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(dir, p.namespace+"_"+p.name+".conf")
	text := fmt.Sprintf("search %s.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n", p.namespace, l.world.dnsService())
	return name, os.WriteFile(name, []byte(text), 0o644)
}

// writeLog writes a Pod's access log as a container runtime keeps it. The times
// of the lines' prefix are now: a client asks for the last hour.
func (l *Lab) writeLog(p *pod) (string, error) {
	dir := filepath.Join(l.dir, "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(dir, p.namespace+"_"+p.name+".log")
	var b bytes.Buffer
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for line := range strings.Lines(string(l.world["proxies/"+p.key()+"/access.log"])) {
		fmt.Fprintf(&b, "%s stdout F %s\n", now, strings.TrimRight(line, "\r\n"))
	}
	return name, os.WriteFile(name, b.Bytes(), 0o644)
}

// AppendLog writes a line to the log of a Pod, as if its proxy had.
func (l *Lab) AppendLog(pod, line string) error {
	ns, name, _ := strings.Cut(pod, "/")
	f, err := os.OpenFile(filepath.Join(l.dir, "logs", ns+"_"+name+".log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s stdout F %s\n", time.Now().UTC().Format(time.RFC3339Nano), line)
	return errorsJoin(err, f.Close())
}
