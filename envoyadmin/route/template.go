package route

import (
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	rewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

func typeName(a *anypb.Any) string { return matcher.TypeName(a) }

// templateOf returns the path template of a path_match_policy.
func templateOf(cfg *corev3.TypedExtensionConfig) (string, error) {
	name := typeName(cfg.GetTypedConfig())
	if name != "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig" {
		return "", fmt.Errorf("path match extension %s (%s) cannot be evaluated", cfg.GetName(), name)
	}
	m := &matchv3.UriTemplateMatchConfig{}
	if err := proto.Unmarshal(cfg.GetTypedConfig().GetValue(), m); err != nil || matcher.HasUnknown(m) {
		return "", fmt.Errorf("path match extension %s cannot be decoded", name)
	}
	return m.GetPathTemplate(), nil
}

// uriTemplate turns the template of a path_match_policy into the regular expression Envoy makes of it.
func uriTemplate(cfg *corev3.TypedExtensionConfig) (string, error) {
	t, err := templateOf(cfg)
	if err != nil {
		return "", err
	}
	return matcher.URITemplate(t)
}

// rewriteTemplate fills the variables of path, matched by the match template, into the rewrite template.
func rewriteTemplate(match, rewrite *corev3.TypedExtensionConfig, path string) (string, error) {
	name := typeName(rewrite.GetTypedConfig())
	if name != "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig" {
		return "", fmt.Errorf("path rewrite extension %s (%s) cannot be evaluated", rewrite.GetName(), name)
	}
	m := &rewritev3.UriTemplateRewriteConfig{}
	if err := proto.Unmarshal(rewrite.GetTypedConfig().GetValue(), m); err != nil || matcher.HasUnknown(m) {
		return "", fmt.Errorf("path rewrite extension %s cannot be decoded", name)
	}
	pattern, err := uriTemplate(match)
	if err != nil {
		return "", err
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return "", err
	}
	groups := re.FindStringSubmatch(path)
	if groups == nil {
		return path, nil
	}
	out := m.GetPathTemplateRewrite()
	for i, v := range re.SubexpNames() {
		if v != "" {
			out = strings.ReplaceAll(out, "{"+v+"}", groups[i])
		}
	}
	return out, nil
}
