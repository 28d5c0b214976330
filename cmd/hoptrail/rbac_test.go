package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hoptrail/hoptrail/trace"
)

// asking keeps account of the lists a source is asked for.
type asking struct {
	trace.Source
	mu    *sync.Mutex
	files map[string]bool
}

func (a asking) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if q.Area == trace.AreaCluster {
		a.mu.Lock()
		a.files[q.File] = true
		a.mu.Unlock()
	}
	return a.Source.Observe(ctx, q)
}

type rbacRole struct {
	Metadata struct{ Name string }
	Rules    []struct {
		APIGroups       []string `yaml:"apiGroups"`
		Resources       []string
		Verbs           []string
		NonResourceURLs []string `yaml:"nonResourceURLs"`
	}
}

func rbacRoles(t *testing.T) map[string]rbacRole {
	t.Helper()
	data, err := os.ReadFile("../../docs/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]rbacRole{}
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var r rbacRole
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out[r.Metadata.Name] = r
	}
}

// TestTheRolesGrantWhatIsAskedForAndNothingElse: docs/rbac.yaml names every list
// that the traces of all worlds, a capture and completion ask for, and no other.
// That the verbs are enough and none too many is shown against an API server, in
// lab.
func TestTheRolesGrantWhatIsAskedForAndNothingElse(t *testing.T) {
	asked := map[string]bool{}
	var mu sync.Mutex
	worlds, err := demoWorlds()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, w := range worlds {
		wg.Go(func() {
			for _, c := range w.cases {
				target, err := c.target()
				if err != nil {
					t.Error(err)
					return
				}
				src, err := openDemo(w)
				if err != nil {
					t.Error(err)
					return
				}
				src.Source = asking{src.Source, &mu, asked}
				if _, err := walk(t.Context(), &outputOptions{}, src, nil, target, nil); err != nil {
					t.Error(err)
				}
				if err := src.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, file := range neighbourhood {
		asked[file] = true
	}
	for _, file := range completed {
		asked[file] = true
	}

	granted := map[string]bool{}
	roles := rbacRoles(t)
	for _, name := range []string{"hoptrail-api", "hoptrail-secrets"} {
		if len(roles[name].Rules) == 0 {
			t.Fatalf("there is no role %s", name)
		}
		for _, rule := range roles[name].Rules {
			if len(rule.NonResourceURLs) > 0 {
				continue
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					if group != "" {
						resource += "." + group
					}
					if granted[resource] {
						t.Errorf("%s is granted twice", resource)
					}
					granted[resource] = true
				}
			}
			if got := strings.Join(rule.Verbs, " "); got != "get list" {
				t.Errorf("%s grants %s", name, got)
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(asked)) {
		if !granted[file] {
			t.Errorf("%s is asked for and not granted", file)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(granted)) {
		if !asked[file] {
			t.Errorf("%s is granted and nothing asks for it", file)
		}
	}
}
