package iptables

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChainsWithTheSameHashAreToldApart indexes with four bits of the hash only,
// so that names collide all the time.
func TestChainsWithTheSameHashAreToldApart(t *testing.T) {
	text := kubeProxySave(300, 3)
	weak, err := parse("weak", text, 0x3<<indexBits)
	if err != nil {
		t.Fatal(err)
	}
	good, err := Parse("good", text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		p := toCluster
		p.Dst = scaleDst(i)
		a, b := (&Host{V4: weak}).Evaluate(p), (&Host{V4: good}).Evaluate(p)
		if len(a.Outcomes) != 3 || !sameEnds(a.Outcomes, b.Outcomes) {
			t.Fatalf("Service %d:\n%s\n%s", i, describe(a), describe(b))
		}
	}
}

// TestRealSavesParse reads what real systems printed.
func TestRealSavesParse(t *testing.T) {
	dir := "../../shared/corpus/real/iptables/"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("other people's files are not here: ", err)
	}
	for file, rules := range map[string]int{
		"aks-npm-v2-2022.iptables-save": 270, "istio-ambient-2022-node-mangle-nat.iptables-save": 33,
		"istio-cni-ambient-golden-default.txt": 18, "istio-golden-dns-uid-gid.golden": 33, "istio-golden-tproxy.golden": 36,
	} {
		rs := parseFile(t, filepath.Join(dir, file))
		if _, _, n := rs.Counts(); n < rules/2 {
			t.Errorf("%s: %d rules", file, n)
		}
		understood(t, rs)
	}
	if b, err := os.ReadFile(dir + "ubuntu-docker-kube-node-2016.txt"); err == nil {
		if _, err := Parse("2016", b); err == nil {
			t.Error("a text whose head is missing was taken")
		}
	}
}
