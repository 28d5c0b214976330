package route_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// FuzzRoute feeds any route configuration and any request: it must end, must not panic, and the probabilities of the
// outcomes must add up to 1.
func FuzzRoute(f *testing.F) {
	data, err := os.ReadFile("../../testdata/envoy-cases/cases.json")
	if err != nil {
		f.Fatal(err)
	}
	var file caseFile
	if err := json.Unmarshal(data, &file); err != nil {
		f.Fatal(err)
	}
	for _, c := range file.Cases {
		rc, ok := c.Config["route_config"]
		if !ok {
			continue
		}
		for i, ch := range c.Checks {
			var r caseRequest
			if i > 2 || json.Unmarshal(ch.Request, &r) != nil || r.Path == nil {
				continue
			}
			h := [2]string{"x-a", "1"}
			if len(r.Headers) > 0 {
				h = r.Headers[0]
			}
			f.Add([]byte(rc), r.Authority, *r.Path, h[0], h[1], i%2 == 0)
		}
	}
	addFuzzInputs(f)
	f.Fuzz(func(t *testing.T, config []byte, authority, path, name, value string, known bool) {
		rc := &routev3.RouteConfiguration{}
		if decode.JSON(config, rc) != nil {
			return
		}
		route.Rejected(rc)
		req := &matcher.Request{
			Method: "GET", Scheme: "http", Authority: authority, Path: path,
			Headers: []matcher.Header{{Name: "x-forwarded-proto", Value: "http"}, {Name: name, Value: value}},
			Env:     matcher.Env{RuntimeComplete: known, MetadataComplete: known, FilterStateComplete: known, Regex: &matcher.Regexps{}},
		}
		d := route.NewTable(rc).Route(req)
		sum := 0.0
		for _, o := range d.Outcomes {
			if o.Probability <= 0 || o.Probability > 1+1e-9 {
				t.Fatalf("probability %g", o.Probability)
			}
			if o.Kind == route.Undetermined && o.Why == "" {
				t.Fatal("undetermined without a reason")
			}
			sum += o.Probability
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Fatalf("the probabilities add up to %g", sum)
		}
	})
}

// FuzzNormalize feeds any path and host: what comes out of normalisation twice is what came out once.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"/a/b/../c", "/a/%2E%2e/c", `/a\..\b`, "/%c0%af", "//a//b/", "/a?x=/../", "/%41%00", "/..", "/.", "/a/..", "*", "http://h/p"} {
		f.Add(s, "a.test:80")
	}
	hcm := &hcmv3.HttpConnectionManager{}
	if err := decode.JSON([]byte(`{"normalize_path":true,"merge_slashes":true,"path_with_escaped_slashes_action":"UNESCAPE_AND_FORWARD","strip_any_host_port":true,"strip_trailing_host_dot":true}`), hcm); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, host string) {
		n := route.Normalize(hcm, 80, &matcher.Request{Method: "GET", Path: path, Authority: host})
		if n.Refusal.Status != 0 {
			return
		}
		if p := n.Request.Path; p != "" && p[0] != '/' {
			t.Fatalf("path %q became %q", path, p)
		}
	})
}
