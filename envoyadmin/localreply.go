package envoyadmin

import (
	"fmt"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// localReply puts the connection manager's own words in place of a response that
// Envoy gives itself: the first mapper whose filter holds may change status and
// body. Source: source/common/local_reply/local_reply.cc.
func (w *way) localReply() {
	c, o := w.reply, &w.out
	if c == nil || o.Response == nil || o.Verdict == Undetermined || len(o.Steps) == 0 {
		return
	}
	last := &o.Steps[len(o.Steps)-1]
	format := c.GetBodyFormat()
	for i, m := range c.GetMappers() {
		held, why := w.loggedBy(m.GetFilter(), 0)
		if un := decode.Unknown(m); len(un) > 0 {
			held, why = matcher.Undecided, "it holds what is not known here: "+strings.Join(un, "; ")
		}
		if held == matcher.Undecided {
			w.note(fmt.Sprintf("local_reply_config.mappers[%d] may change the response: %s", i, why))
			return
		}
		if held == matcher.No {
			continue
		}
		if s := m.GetStatusCode(); s != nil && int(s.GetValue()) != o.Response.Status {
			last.Why = joinWords(last.Why, fmt.Sprintf("local_reply_config.mappers[%d] makes the status %d of %d", i, s.GetValue(), o.Response.Status))
			o.Response = &Response{Status: int(s.GetValue()), Location: o.Response.Location, Body: o.Response.Body}
		}
		if m.GetBody() != nil {
			o.Response = &Response{Status: o.Response.Status, Location: o.Response.Location, Body: inlineText(m.GetBody())}
			last.Why = joinWords(last.Why, fmt.Sprintf("local_reply_config.mappers[%d] gives it another body", i))
		}
		for _, h := range m.GetHeadersToAdd() {
			w.localHeader(last, i, h)
		}
		if m.GetBodyFormatOverride() != nil {
			format = m.GetBodyFormatOverride()
		}
		break
	}
	if format != nil && format.GetTextFormatSource().GetInlineString() != "%LOCAL_REPLY_BODY%" {
		o.Response = &Response{Status: o.Response.Status, Location: o.Response.Location}
		last.Why = joinWords(last.Why, "its body is formatted by local_reply_config")
	}
}

// localHeader adds a header to the answer, as the i-th mapper has it. Of those a
// client acts upon, location is part of the answer told.
func (w *way) localHeader(last *Step, i int, h *corev3.HeaderValueOption) {
	name, text := strings.ToLower(h.GetHeader().GetKey()), h.GetHeader().GetValue()
	if text == "" {
		text = string(h.GetHeader().GetRawValue())
	}
	value, known := route.Format(text, w.seen)
	if value == "" && !h.GetKeepEmptyValue() {
		return
	}
	shown := matcher.Show(value)
	switch {
	case matcher.Sensitive(name):
		shown = "(not shown)"
	case !known:
		shown += " (not expanded)"
	}
	action := h.GetAppendAction()
	if a := h.GetAppend(); a != nil { //nolint:staticcheck // old configurations have it
		action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		if !a.GetValue() {
			action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		}
	}
	words := "adds"
	if action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS || action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
		words = "sets"
	}
	o := &w.out
	if has := o.Response.Location != ""; name == "location" {
		switch {
		case has && action == corev3.HeaderValueOption_ADD_IF_ABSENT, !has && action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			return
		case !known || has && words == "adds":
			w.note(fmt.Sprintf("local_reply_config.mappers[%d] %s location: %s, and which of them a client follows is not known", i, words, shown))
		default:
			o.Response = &Response{Status: o.Response.Status, Location: value, Body: o.Response.Body}
		}
	}
	last.Why = joinWords(last.Why, fmt.Sprintf("local_reply_config.mappers[%d] %s header %s: %s", i, words, name, shown))
}

// grpcReply makes an answer that Envoy gives itself what a gRPC client gets:
// status 200, which the access log has too, and the error as grpc-status. Filters
// that answer with a success, as to a preflight, send it as it is, and what the
// codec refuses is not known to be gRPC. Source: prepareLocalReply in
// source/common/http/utility.cc, httpToGrpcStatus in source/common/grpc/status.cc.
func (w *way) grpcReply() {
	o := &w.out
	if w.seen == nil || o.Response == nil || o.Verdict == Undetermined || len(o.Steps) == 0 ||
		strings.HasPrefix(o.Details, "http1.") || strings.HasPrefix(o.Details, "http2.") {
		return
	}
	kind, _ := w.seen.Get("content-type")
	last := &o.Steps[len(o.Steps)-1]
	if kind != "application/grpc" && !strings.HasPrefix(kind, "application/grpc+") || last.Kind == KindFilter && o.Response.Status < 400 {
		return
	}
	n := &Response{Status: 200, Location: o.Response.Location, Body: o.Response.Body}
	if o.Details == "fault_filter_abort" { // the filter may name a grpc-status of its own
		last.Why = joinWords(last.Why, fmt.Sprintf("a gRPC client gets status 200 and a grpc-status in place of %d", o.Response.Status))
	} else {
		status := grpcStatus(o.Response.Status)
		last.Why = joinWords(last.Why, fmt.Sprintf("a gRPC client gets status 200 with grpc-status %d in place of %d", status, o.Response.Status))
		n.GRPCStatus = &status
	}
	o.Response = n
}

// grpcStatus is the grpc-status that stands for an HTTP status.
func grpcStatus(http int) int {
	switch http {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

func inlineText(s *corev3.DataSource) string {
	if t := s.GetInlineString(); t != "" {
		return t
	}
	return string(s.GetInlineBytes())
}

// loggedBy evaluates an access log filter on the response as it is so far.
// Source: source/common/access_log/access_log_impl.cc.
func (w *way) loggedBy(f *accesslogv3.AccessLogFilter, depth int) (matcher.Verdict, string) {
	o := &w.out
	if depth > 32 {
		return matcher.Undecided, "its filter nests too deeply"
	}
	combine := func(list []*accesslogv3.AccessLogFilter, stop matcher.Verdict) (matcher.Verdict, string) {
		all, why := stop.Not(), ""
		for _, sub := range list {
			switch v, y := w.loggedBy(sub, depth+1); v {
			case stop:
				return stop, ""
			case matcher.Undecided:
				all, why = v, y
			}
		}
		return all, why
	}
	switch k := f.GetFilterSpecifier().(type) {
	case nil:
		if un := decode.Unknown(f); len(un) > 0 {
			return matcher.Undecided, "its filter is not known here: " + strings.Join(un, "; ")
		}
		return matcher.No, "" // a mapper without a filter maps nothing
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		c := k.StatusCodeFilter.GetComparison()
		is, want := uint32(o.Response.Status), c.GetValue().GetDefaultValue()
		switch c.GetOp() {
		case accesslogv3.ComparisonFilter_EQ:
			return matcher.Of(is == want), ""
		case accesslogv3.ComparisonFilter_GE:
			return matcher.Of(is >= want), ""
		case accesslogv3.ComparisonFilter_LE:
			return matcher.Of(is <= want), ""
		case accesslogv3.ComparisonFilter_NE:
			return matcher.Of(is != want), ""
		}
		return matcher.Undecided, "its comparison is not known here"
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		var have []string
		if o.Flags != "" {
			have = strings.Split(o.Flags, ",")
		}
		want := k.ResponseFlagFilter.GetFlags()
		if len(want) == 0 {
			return matcher.Of(len(have) > 0), ""
		}
		return matcher.Of(slices.ContainsFunc(have, func(s string) bool { return slices.Contains(want, s) })), ""
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		return matcher.HeaderMatch(k.HeaderFilter.GetHeader(), w.seen)
	case *accesslogv3.AccessLogFilter_AndFilter:
		return combine(k.AndFilter.GetFilters(), matcher.No)
	case *accesslogv3.AccessLogFilter_OrFilter:
		return combine(k.OrFilter.GetFilters(), matcher.Yes)
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return matcher.Of(!strings.HasPrefix(o.Details, "health_check")), ""
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		switch p := k.RuntimeFilter.GetPercentSampled(); {
		case p.GetNumerator() == 0:
			return matcher.No, ""
		case p.GetDenominator() == typev3.FractionalPercent_HUNDRED && p.GetNumerator() >= 100:
			return matcher.Yes, ""
		}
		return matcher.Undecided, "its filter takes a part of requests"
	default:
		return matcher.Undecided, fmt.Sprintf("its filter (%T) is not evaluated", k)
	}
}

// Envoy's defaults. Source: source/common/http/http1/codec_impl.cc,
// DEFAULT_MAX_REQUEST_HEADERS_KB and DEFAULT_MAX_HEADERS_COUNT in envoy/http/codec.h.
const (
	defaultHeadersKB    = 60
	defaultHeadersCount = 100
)

// tooLarge says whether the headers that the call names are by themselves more
// than the codec takes, empty where they are not. A client sends more than those.
func tooLarge(hcm *hcmv3.HttpConnectionManager, c *Call) (details, why string) {
	kb, count := uint64(defaultHeadersKB), uint64(defaultHeadersCount)
	if v := hcm.GetMaxRequestHeadersKb(); v != nil {
		kb = uint64(v.GetValue())
	}
	if v := hcm.GetCommonHttpProtocolOptions().GetMaxHeadersCount(); v != nil {
		count = uint64(v.GetValue())
	}
	size, n := uint64(len(c.Path)+len(":authority")+len(c.Authority)), uint64(1+len(c.Headers))
	large, many := "http1.headers_too_large", "http1.too_many_headers"
	if c.Protocol == HTTP2 {
		size += uint64(len(":path") + len(":method") + len(c.Method) + len(":scheme") + len(c.Scheme))
		n, large, many = n+3, "http2.too_many_headers", "http2.too_many_headers"
	}
	for _, h := range c.Headers {
		size += uint64(len(h.Name) + len(h.Value))
	}
	switch {
	case size > kb*1024:
		return large, fmt.Sprintf("the request's headers are %d bytes, and no more than %d are taken (max_request_headers_kb)", size, kb*1024)
	case n > count:
		return many, fmt.Sprintf("the request has %d headers, and no more than %d are taken (max_headers_count)", n, count)
	}
	return "", ""
}
