package route

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

func (t *Table) choose(req *matcher.Request) HostChoice { return t.Hosts.choose(req.Authority) }

func (t *Table) decide(*matcher.Request, HostChoice, *routev3.VirtualHost) Decision {
	return Decision{Outcomes: []Outcome{{Probability: 1, RouteIndex: -1, Why: "routes are not evaluated"}}}
}

func normalize(_ *hcmv3.HttpConnectionManager, _ uint32, req *matcher.Request) Normalized {
	return Normalized{Request: req}
}
