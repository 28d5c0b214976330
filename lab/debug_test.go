package lab

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNodeDebug: where no Pod of a node can print its rules, --node-debug and
// nothing else makes one, says which, and removes it, however the trace ends.
func TestNodeDebug(t *testing.T) {
	l := start(t, Config{World: world(t, "seed/ingress-http"), Users: []string{"oncall", "maker"}})
	grant(t, l, "oncall", "hoptrail-api", "hoptrail-logs", "hoptrail-portforward", "hoptrail-node-debug")
	const target = "http://simple.baihl.io:31373/simple/httpserver"
	const rules = "nodes/baihl-master/iptables-save.txt"
	const image = "kube-proxy:" + KubernetesVersion
	if _, err := l.Do(t.Context(), "DELETE", "/api/v1/namespaces/kube-system/pods/"+kubeProxyName(l.nodeOf("baihl-master"))+"?gracePeriodSeconds=0", nil); err != nil {
		t.Fatal(err)
	}
	// ended checks what the trace made and what is left, and returns how many.
	before := 0
	ended := func(t *testing.T, made int, stderr string) {
		t.Helper()
		n, there, err := l.DebugPods(t.Context())
		if err != nil || n-before != made || len(there) != 0 {
			t.Errorf("%d Pods were made, want %d; left are %q, %v", n-before, made, there, err)
		}
		before = n
		created, removed := strings.Count(stderr, "created Pod default/hoptrail-node-"), strings.Count(stderr, "removed Pod default/hoptrail-node-")
		if created != made || removed != made || made > 0 && !strings.Contains(stderr, " on node baihl-master (image "+image+")") {
			t.Errorf("said was %q", stderr)
		}
	}
	read := func(r result) bool {
		return slices.ContainsFunc(r.Collected.Read, func(n struct{ What string }) bool { return n.What == rules })
	}
	why := func(r result) string {
		for _, n := range r.Collected.NotRead {
			if n.What == rules {
				return n.Why + "; " + n.Command
			}
		}
		return ""
	}

	t.Run("without the flag nothing is made", func(t *testing.T) {
		r := trace(t, l, "", target)
		ended(t, 0, r.stderr)
		if r.exit != 3 || read(r) || !strings.Contains(why(r), "no running Pod on node baihl-master has the host's network") || !strings.Contains(why(r), "--node-debug") {
			t.Errorf("exit %d: %s\n%s", r.exit, why(r), r.outline())
		}
	})
	t.Run("with the flag one Pod is made, read and removed", func(t *testing.T) {
		r := trace(t, l, "", target, "--node-debug")
		ended(t, 1, r.stderr)
		if r.exit != 0 || !read(r) || !slices.Contains(r.shown("node", "dnat"), "10.10.1.4:8080") {
			t.Errorf("exit %d\n%s", r.exit, r.outline())
		}
	})
	t.Run("the rights of docs/rbac.yaml are enough", func(t *testing.T) {
		// Without exec every node on the path gets a Pod, one each.
		r := trace(t, l, "oncall", target, "--node-debug")
		n, there, err := l.DebugPods(t.Context())
		if err != nil || n-before != 2 || len(there) != 0 || strings.Count(r.stderr, "created Pod") != 2 || strings.Count(r.stderr, "removed Pod") != 2 ||
			!strings.Contains(r.stderr, " on node baihl-master ") || !strings.Contains(r.stderr, " on node baihl-node ") {
			t.Errorf("%d Pods were made; left are %q, %v: %s", n-before, there, err, r.stderr)
		}
		before = n
		if !read(r) || !slices.Contains(r.shown("node", "dnat"), "10.10.1.4:8080") {
			t.Errorf("the rules were not read\n%s", r.outline())
		}
	})
	t.Run("one that could not be removed is not made", func(t *testing.T) {
		if err := l.Create(t.Context(), "clusterroles", []object{{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": object{"name": "maker"},
			"rules": []object{{"apiGroups": []string{""}, "resources": []string{"pods"}, "verbs": []string{"create"}}},
		}}); err != nil {
			t.Fatal(err)
		}
		grant(t, l, "maker", "hoptrail-api", "hoptrail-logs", "hoptrail-portforward", "maker")
		r := trace(t, l, "maker", target, "--node-debug")
		ended(t, 0, r.stderr)
		if r.exit != 3 || read(r) || !strings.Contains(why(r), "no Pod was created: the right to delete pods in namespace default is missing") || !strings.Contains(why(r), "--verb=delete --resource=pods") {
			t.Errorf("exit %d: %s\n%s", r.exit, why(r), r.outline())
		}
	})
	t.Run("whose programs fail", func(t *testing.T) {
		l.SetDebugPods(Half)
		defer l.SetDebugPods(NoFault)
		r := trace(t, l, "", target, "--node-debug")
		ended(t, 1, r.stderr)
		if r.exit != 3 || !strings.Contains(why(r), "iptables-save ended with status 1") {
			t.Errorf("exit %d: %s\n%s", r.exit, why(r), r.outline())
		}
	})
	t.Run("that does not start before the time is over", func(t *testing.T) {
		l.SetDebugPods(Hang)
		defer l.SetDebugPods(NoFault)
		r := trace(t, l, "", target, "--node-debug", "--timeout", "15s", "--request-timeout", "30m")
		ended(t, 1, r.stderr)
		if r.exit != 3 || !strings.Contains(why(r), "time limit of 13.5s for the whole trace") {
			t.Errorf("exit %d after %s: %s\n%s", r.exit, r.took, why(r), r.outline())
		}
	})
	// Nothing can be done when it is killed: the Pod ends itself then
	// (activeDeadlineSeconds).
	for name, signal := range map[string]os.Signal{"when it is interrupted": os.Interrupt, "when it is terminated": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			l.SetDebugPods(Hang)
			defer l.SetDebugPods(NoFault)
			argv := command(t, l, "", target, "--node-debug", "-o", "json")
			cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				if n, there, err := l.DebugPods(t.Context()); err == nil && n > before && len(there) == 1 {
					break
				} else if time.Now().After(end) {
					t.Fatalf("no Pod was made: %d, %q, %v", n, there, err)
				}
			}
			cmd.Process.Signal(signal)
			cmd.Wait()
			ended(t, 1, stderr.String())
			if cmd.ProcessState.ExitCode() != 130 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("exit %d: %s%s", cmd.ProcessState.ExitCode(), stderr.String(), stdout.String())
			}
		})
	}
}
