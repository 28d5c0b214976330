package httpfilter

import (
	"fmt"
	"strings"

	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	modulev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Misplaced says what is wrong with the end of a chain of filters, empty where nothing is: Envoy takes only a list whose
// last filter, and no other, is a terminal one, the router as a rule. ecds is as in [Walk]. Source:
// Config::Utility::validateTerminalFilters in source/common/config/utility.cc.
func Misplaced(filters []*hcmv3.HttpFilter, ecds func(name string) *anypb.Any) string {
	if len(filters) == 0 {
		return "the connection manager has no HTTP filters: without a router filter nothing answers a request or sends it on"
	}
	for i, f := range filters {
		last := i == len(filters)-1
		switch is := terminal(f.GetName(), configOf(f, ecds)); {
		case is == matcher.Yes && !last:
			return fmt.Sprintf("Envoy rejects such a listener: terminal HTTP filter %s must be the last one and is followed by %s", f.GetName(), filters[i+1].GetName())
		case is == matcher.Yes && f.GetDisabled():
			return fmt.Sprintf("Envoy rejects such a listener: terminal HTTP filter %s is disabled", f.GetName())
		case is == matcher.No && last:
			return fmt.Sprintf("Envoy rejects such a listener: the last HTTP filter, %s, is not a terminal one, as the router is", f.GetName())
		}
	}
	return ""
}

// terminal says whether a filter ends the chain; one that is not known may.
func terminal(name string, cfg *anypb.Any) matcher.Verdict {
	switch matcher.TypeName(cfg) {
	case typeRouter, extensions + "mcp_router.v3.McpRouter":
		return matcher.Yes
	case extensions + "dynamic_modules.v3.DynamicModuleFilter":
		c := &modulev3.DynamicModuleFilter{}
		if matcher.Unpack(cfg, c) != nil {
			return matcher.Undecided
		}
		return matcher.Of(c.GetTerminalFilter())
	case matcherType:
		m := &matchingv3.ExtensionWithMatcher{}
		if matcher.Unpack(cfg, m) != nil {
			return matcher.Undecided
		}
		inner := m.GetExtensionConfig().GetTypedConfig()
		if matcher.TypeName(inner) == matcherType {
			return matcher.Undecided
		}
		return terminal(name, inner)
	case "":
		switch name {
		case "envoy.router", "envoy.filters.http.router", "http_router":
			return matcher.Yes
		}
		return matcher.Undecided
	}
	if strings.HasPrefix(matcher.TypeName(cfg), extensions) { // all others of Envoy's own
		return matcher.No
	}
	return matcher.Undecided
}
