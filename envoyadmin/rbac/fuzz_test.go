package rbac_test

import (
	"encoding/json"
	"os"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/rbac"
)

// FuzzEvaluate feeds any rules: it must end, must not panic, and must give a reason for what it cannot decide.
func FuzzEvaluate(f *testing.F) {
	data, err := os.ReadFile("../../testdata/envoy-cases/cases.json")
	if err != nil {
		f.Fatal(err)
	}
	var file caseFile
	if err := json.Unmarshal(data, &file); err != nil {
		f.Fatal(err)
	}
	for _, c := range file.Cases {
		if r, ok := c.Config["rules"]; ok {
			f.Add([]byte(r), "/a", "x-a", "1")
		}
	}
	f.Add([]byte(`{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":`+celHeaderIs+`}}}`), "/", "x-a", "1")
	f.Fuzz(func(t *testing.T, js []byte, path, name, value string) {
		rules := &rbacv3.RBAC{}
		if decode.JSON(js, rules) != nil {
			return
		}
		d := rbac.Evaluate(rules, nil, &matcher.Request{Method: "GET", Path: path, Headers: []matcher.Header{{Name: name, Value: value}}, Env: matcher.Env{Regex: &matcher.Regexps{}}})
		if d.Allowed == matcher.Undecided && d.Why == "" {
			t.Fatal("undecided without a reason")
		}
	})
}
