package httpfilter

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

func run(filters []*hcmv3.HttpFilter, _ []map[string]*anypb.Any, _ bool, req *matcher.Request, _ func(string) *anypb.Any) Result {
	r := Result{Request: req}
	for _, f := range filters {
		r.Steps = append(r.Steps, Step{Name: f.GetName(), Why: "not evaluated"})
	}
	return r
}
