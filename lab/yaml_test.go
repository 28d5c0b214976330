package lab

import (
	"bytes"
	"testing"

	"sigs.k8s.io/yaml"
)

func decodeYAML(t *testing.T, data []byte) []object {
	t.Helper()
	var out []object
	for _, doc := range bytes.Split(data, []byte("\n---")) {
		var o object
		if err := yaml.Unmarshal(bytes.TrimPrefix(doc, []byte("---")), &o); err != nil {
			t.Fatal(err)
		}
		if len(o) > 0 {
			out = append(out, o)
		}
	}
	return out
}
