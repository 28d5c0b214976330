package trace_test

import (
	"slices"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

func TestARouteNamesTheEntryOfItsVirtualService(t *testing.T) {
	for _, c := range []struct {
		name, world, entry string
		ask                asked
	}{
		{"an exact path", ingressHTTP, "spec.http[0]", nodePort},
		{"a prefix", ingressHTTP, "spec.http[1]", asked{url: "http://192.168.170.137:31373/simple/nginx/x", headers: []string{"Host: simple.baihl.io"}}},
		{"a name", bookinfo, "spec.http[0]", asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-z8kxm", headers: []string{"end-user: jason"}}},
		{"the last, by its name", bookinfo, "spec.http[1]", asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-z8kxm"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := traceWorld(t, c.world, c.ask.target(t))
			if !anyHop(r, func(h trace.Hop) bool {
				return slices.ContainsFunc(h.Checks, func(k trace.Check) bool { return k.Value == c.entry })
			}, trace.KindRoute) {
				t.Errorf("no route is said to be %s\n%s", c.entry, outline(r))
			}
		})
	}
}
