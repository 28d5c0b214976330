package matcher_test

import (
	"testing"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// FuzzEval feeds any matcher tree: it must end, must not panic, and must give a reason for what it cannot decide.
func FuzzEval(f *testing.F) {
	for _, s := range []string{
		`{"matcher_list":{"matchers":[{"predicate":{"single_predicate":{` + inHeader + `,"value_match":{"prefix":"a"}}},"on_match":` + act("x") + `}]},"on_no_match":` + act("y") + `}`,
		`{"matcher_tree":{` + inSNI + `,"prefix_match_map":{"map":{"a":` + act("x") + `}}}}`,
		`{"matcher_tree":{` + inSource + `,"custom_match":{"name":"ip","typed_config":{"@type":"type.googleapis.com/xds.type.matcher.v3.IPMatcher","range_matchers":[{"ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}],"on_match":` + act("x") + `}]}}}}`,
		`{"matcher_list":{"matchers":[{"predicate":{"not_matcher":{"single_predicate":{` + inMeta + `,"custom_match":{"name":"c","typed_config":{"@type":"type.googleapis.com/xds.type.matcher.v3.CelMatcher","expr_match":{"cel_expr_string":"request.path == '/'"}}}}}},"on_match":` + act("x") + `}]}}`,
	} {
		f.Add([]byte(s), "x", "abc")
	}
	f.Fuzz(func(t *testing.T, js []byte, name, value string) {
		m := &xdsmatcher.Matcher{}
		if decode.JSON(js, m) != nil {
			return
		}
		found := matcher.Eval(m, &matcher.Request{Path: "/", Headers: []matcher.Header{{Name: name, Value: value}}}, nil)
		if found.Verdict == matcher.Undecided && found.Why == "" {
			t.Fatal("undecided without a reason")
		}
	})
}
