package iptables

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestEveryRuleFormInTheWildParsesAndPrintsAsTheKernelSavesIt reads the rules of
// kube-proxy, the CNIs and Istio as written and as each backend saves them.
func TestEveryRuleFormInTheWildParsesAndPrintsAsTheKernelSavesIt(t *testing.T) {
	b, err := os.ReadFile(data + "cni-syntax.json")
	if err != nil {
		t.Fatal(err)
	}
	var forms []struct{ Who, Table, Chain, Written, NFT, Legacy string }
	if err := json.Unmarshal(b, &forms); err != nil {
		t.Fatal(err)
	}
	if len(forms) != 105 {
		t.Fatalf("%d forms", len(forms))
	}
	for _, f := range forms {
		t.Run(f.Who+"/"+f.Written, func(t *testing.T) {
			check := func(what, text, want string) {
				t.Helper()
				r := parseRule("-A X " + text)
				if got := r.String(); strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("%s\n text %s\n got  %s\n want %s", what, text, got, want)
				}
				for _, m := range r.matches {
					if o, ok := m.(*opaque); ok && o.name == "" {
						t.Errorf("%s: not understood: %q", text, o.words)
					}
				}
			}
			saved := f.Legacy
			if saved == "" {
				saved = f.NFT
			}
			if saved != "" {
				check("saved", saved, saved)
				check("written", f.Written, saved)
			}
			if f.NFT != "" {
				check("nft", f.NFT, f.NFT)
			}
			again := parseRule("-A X " + f.Written).String()
			check("printed", again, again)
		})
	}
}
