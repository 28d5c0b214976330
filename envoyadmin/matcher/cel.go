package matcher

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	celv3 "github.com/cncf/xds/go/xds/type/v3"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

const celCost = 1 << 20 // steps an expression may take

// CEL decides a CEL matcher with the attributes of the request.
func (r *Request) CEL(m *xdsmatcher.CelMatcher) (Verdict, string) {
	if HasUnknown(m) {
		return Undecided, "CEL matcher " + UnknownIn(m)
	}
	switch e := m.GetExprMatch().GetExprSpecifier().(type) {
	case *celv3.CelExpression_ParsedExpr: //nolint:staticcheck // older control planes send it
		return r.CELExpr(e.ParsedExpr.GetExpr())
	case *celv3.CelExpression_CheckedExpr: //nolint:staticcheck // as above
		return r.CELExpr(e.CheckedExpr.GetExpr())
	}
	if s := m.GetExprMatch().GetCelExprString(); s != "" {
		env, err := celEnv()
		if err != nil {
			return Undecided, fmt.Sprintf("CEL: %v", err)
		}
		ast, iss := env.Parse(s)
		if iss.Err() != nil {
			return Undecided, fmt.Sprintf("CEL %s: %v", show(s), iss.Err())
		}
		return r.celRun(env, ast)
	}
	return Undecided, "CEL matcher is in a form that is not known"
}

// CELExpr decides a CEL expression, as RBAC conditions hold it, with Envoy's attributes. An attribute that was not
// given makes the answer undecided where it matters; an error in the evaluation, such as a header that is absent, is
// No, as in Envoy.
func (r *Request) CELExpr(e *exprpb.Expr) (Verdict, string) {
	if e == nil {
		return Undecided, "CEL expression is empty"
	}
	env, err := celEnv()
	if err != nil {
		return Undecided, fmt.Sprintf("CEL: %v", err)
	}
	return r.celRun(env, cel.ParsedExprToAst(&exprpb.ParsedExpr{Expr: e, SourceInfo: &exprpb.SourceInfo{}}))
}

var celRoots = []string{"request", "source", "destination", "connection", "metadata", "filter_state", "upstream_filter_state", "upstream", "response", "xds"}

func celEnv() (*cel.Env, error) {
	opts := []cel.EnvOption{ext.Strings()}
	for _, n := range celRoots {
		opts = append(opts, cel.Variable(n, cel.DynType))
	}
	return cel.NewEnv(opts...)
}

func (r *Request) celRun(env *cel.Env, ast *cel.Ast) (v Verdict, why string) {
	defer func() {
		if p := recover(); p != nil {
			v, why = Undecided, "CEL expression cannot be evaluated"
		}
	}()
	src, err := cel.AstToString(ast)
	if err != nil {
		src = "expression"
	}
	prg, err := env.Program(ast, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(celCost))
	if err != nil {
		return Undecided, fmt.Sprintf("CEL %s: %v", src, err)
	}
	vars, unknowns := r.celVars()
	act, err := cel.PartialVars(vars, unknowns...)
	if err != nil {
		return Undecided, fmt.Sprintf("CEL %s: %v", src, err)
	}
	out, _, err := prg.Eval(act)
	if err != nil {
		return No, ""
	}
	if types.IsUnknown(out) {
		return Undecided, "CEL " + src + " needs an attribute that is not known"
	}
	b, ok := out.Value().(bool)
	return Of(ok && b), ""
}

// celVars gives Envoy's attributes; what is not known is named as such.
func (r *Request) celVars() (map[string]any, []*cel.AttributePatternType) {
	var unknowns []*cel.AttributePatternType
	missing := func(root string, fields ...string) {
		p := cel.AttributePattern(root)
		for _, f := range fields {
			p = p.QualString(f)
		}
		unknowns = append(unknowns, p)
	}
	request := map[string]any{}
	if !r.Network {
		headers := map[string]string{}
		for _, h := range r.Headers {
			n := lower(h.Name)
			if old, ok := headers[n]; ok {
				headers[n] = old + "," + h.Value
			} else {
				headers[n] = h.Value
			}
		}
		for n, v := range map[string]string{":path": r.Path, ":method": r.Method, ":authority": r.Authority, "host": r.Authority, ":scheme": r.Scheme} {
			if v != "" {
				headers[n] = v
			}
		}
		request["headers"] = headers
		set := func(k, v string) {
			if v != "" {
				request[k] = v
			}
		}
		set("path", r.Path)
		urlPath, query, hasQuery := strings.Cut(r.Path, "?")
		set("url_path", urlPath)
		if r.Path != "" {
			request["query"] = ""
		}
		if hasQuery {
			request["query"] = query
		}
		set("host", r.Authority)
		set("scheme", r.Scheme)
		set("method", r.Method)
		set("referer", headers["referer"])
		set("useragent", headers["user-agent"])
		if id, ok := headers["x-request-id"]; ok {
			request["id"] = id
		} else {
			missing("request", "id")
		}
		if r.Protocol != "" {
			request["protocol"] = r.Protocol
		} else {
			missing("request", "protocol")
		}
		if !r.Env.Now.IsZero() {
			request["time"] = r.Env.Now
		} else {
			missing("request", "time")
		}
		for _, f := range []string{"size", "total_size", "duration"} {
			missing("request", f)
		}
	}
	address := func(root string, ap fmt.Stringer, valid bool, port uint16) map[string]any {
		if !valid {
			missing(root)
			return map[string]any{}
		}
		return map[string]any{"address": ap.String(), "port": int64(port)}
	}
	src := r.Conn.DirectRemote
	if r.Conn.Remote.IsValid() {
		src = r.Conn.Remote
	}
	conn := map[string]any{"requested_server_name": r.Conn.SNI, "mtls": r.Conn.TLS != nil && r.Conn.TLS.Peer != nil}
	missing("connection", "id")
	if t := r.Conn.TLS; t != nil {
		if t.Version != "" {
			conn["tls_version"] = t.Version
		} else {
			missing("connection", "tls_version")
		}
		missing("connection", "subject_local_certificate")
		missing("connection", "uri_san_local_certificate")
		missing("connection", "dns_san_local_certificate")
		if p := t.Peer; p != nil && p.Known {
			first := func(k string, v ...string) {
				if len(v) > 0 {
					conn[k] = v[0]
				}
			}
			conn["subject_peer_certificate"] = p.Subject
			first("uri_san_peer_certificate", p.URISANs...)
			first("dns_san_peer_certificate", p.DNSSANs...)
			conn["sha256_peer_certificate_digest"] = p.SHA256
		} else if p != nil {
			for _, f := range []string{"subject_peer_certificate", "uri_san_peer_certificate", "dns_san_peer_certificate", "sha256_peer_certificate_digest"} {
				missing("connection", f)
			}
		}
	}
	md := map[string]any{}
	for ns, s := range r.Env.Metadata {
		md[ns] = s.AsMap()
	}
	if !r.Env.MetadataComplete {
		missing("metadata")
	}
	fs := map[string]any{}
	for k, v := range r.Env.FilterState {
		fs[k] = v
	}
	if !r.Env.FilterStateComplete {
		missing("filter_state")
	}
	for _, root := range []string{"xds", "upstream", "upstream_filter_state", "response"} {
		missing(root)
	}
	return map[string]any{
		"request":               request,
		"source":                address("source", src, src.IsValid(), src.Port()),
		"destination":           address("destination", r.Conn.Destination, r.Conn.Destination.IsValid(), r.Conn.Destination.Port()),
		"connection":            conn,
		"metadata":              map[string]any{"filter_metadata": md},
		"filter_state":          fs,
		"upstream_filter_state": map[string]any{},
		"upstream":              map[string]any{},
		"response":              map[string]any{},
		"xds":                   map[string]any{},
	}, unknowns
}
