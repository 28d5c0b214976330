package lab

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// machine is what of a lab could stay behind on the machine: processes, network
// namespaces, links, addresses, routes, netfilter rules and files.
// Of namespaces only labs' are looked at: others come and go as they please.
func machine(t *testing.T, bin string, folders ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	run := func(name string, argv ...string) {
		data, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output()
		if err != nil {
			t.Fatalf("%q: %v", argv, err)
		}
		out[name] = string(data)
	}
	namespaces, err := filepath.Glob("/run/netns/htlab-*")
	if err != nil {
		t.Fatal(err)
	}
	out["namespaces"] = strings.Join(namespaces, "\n")
	run("links", "ip", "-br", "link")
	run("addresses", "ip", "-br", "addr")
	run("routes", "ip", "route", "show", "table", "all")
	run("rules", "iptables-save")
	run("rules of IPv6", "ip6tables-save")
	run("sets", "ipset", "list", "-name")
	out["processes"] = strings.Join(processes(t, bin), "\n")
	for _, dir := range folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out["files in "+dir] += e.Name() + "\n"
		}
	}
	counters := regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]|expires \d+sec`)
	for k, v := range out {
		out[k] = counters.ReplaceAllString(v, "")
	}
	return out
}

// processes are those that run a program from a folder, or were given it.
func processes(t *testing.T, bin string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range lines {
		data, err := os.ReadFile(name)
		if err == nil && bytes.Contains(data, []byte(bin)) {
			out = append(out, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	slices.Sort(out)
	return out
}

// TestDownLeavesNothingBehind: after `lab up` and `lab down` the machine is as it
// was, also where the lab was killed in between.
func TestDownLeavesNothingBehind(t *testing.T) {
	if missing := Missing(binDir()); len(missing) > 0 {
		if required() {
			t.Fatalf("HOPTRAIL_REQUIRE names the lab, and this machine lacks %s", strings.Join(missing, ", "))
		}
		t.Skipf("this machine lacks %s (run `lab install`)", strings.Join(missing, ", "))
	}
	parent := t.TempDir() // of everything, so that processes are known by their command lines
	bin := filepath.Join(parent, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-proxy", "kwok"} {
		if err := os.Symlink(filepath.Join(binDir(), name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(parent, "lab")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/lab").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	source, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	lab := func(args ...string) string {
		t.Helper()
		// Not with t.Context: that is over when the test cleans up.
		cmd := exec.Command(program, append([]string{"-source", source, "-bin", bin, "-dir", filepath.Join(parent, "run")}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("lab %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	before := machine(t, parent, parent)
	for _, killed := range []bool{false, true} {
		status := lab("up", "ingress-http")
		t.Cleanup(func() { lab("down") })
		kubeconfig := regexp.MustCompile(`(?m)^ *export KUBECONFIG=(\S+)$`).FindStringSubmatch(status)
		resolver := regexp.MustCompile(`--resolver (\S+) `).FindStringSubmatch(status)
		if kubeconfig == nil || resolver == nil {
			t.Fatalf("status:\n%s", status)
		}
		during := machine(t, parent, parent)
		if during["processes"] == "" || during["namespaces"] == before["namespaces"] {
			t.Fatalf("the test does not see a lab that runs: %q, %q", during["processes"], during["namespaces"])
		}
		if r := runTrace(t, "http://simple.baihl.io:31373/simple/httpserver", "--kubeconfig", kubeconfig[1], "--resolver", resolver[1]); r.Verdict != "reachable" {
			t.Errorf("verdict %s\n%s", r.Verdict, r.outline())
		}
		if killed {
			state, err := ReadState(filepath.Join(parent, "run"))
			if err != nil {
				t.Fatal(err)
			}
			p, err := os.FindProcess(state.PID)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		lab("down")
		after := machine(t, parent, parent)
		for what := range before {
			if after[what] != before[what] {
				t.Errorf("killed: %v: %s were\n%s\nand are\n%s", killed, what, before[what], after[what])
			}
		}
	}
}
