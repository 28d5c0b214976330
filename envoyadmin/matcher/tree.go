package matcher

import (
	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
)

// Value is what an input of a matcher tree gives.
type Value struct {
	Present Verdict // Yes: Text holds it; No: the input has no value; Undecided: it is not known, for the reason in Why
	Text    string
	Why     string
	Name    string // the input in words: "header :path"
}

// Inputs gives the values a matcher tree asks for. Request is one.
type Inputs interface {
	// Input returns the value of one data input.
	Input(cfg *xdscore.TypedExtensionConfig) Value
}

// Found is what a matcher tree says.
type Found struct {
	Verdict Verdict // Yes: Action was reached; No: nothing matched; Undecided: Why
	Action  *xdscore.TypedExtensionConfig
	Trail   []string // the conditions on the way that held, in words
	Why     string
}

// Eval walks a matcher tree to the action Envoy would take. Nested trees deeper than 32 are undecided.
func Eval(m *xdsmatcher.Matcher, in Inputs, rx *Regexps) Found {
	return Found{Why: "not evaluated"}
}

// Input returns a data input's value for the request.
func (r *Request) Input(cfg *xdscore.TypedExtensionConfig) Value {
	return Value{Why: "not evaluated"}
}
