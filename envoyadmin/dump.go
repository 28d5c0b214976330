package envoyadmin

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// SyntaxError says where input stops being what it should be. Line and Column
// count from 1, Offset from 0; Column counts bytes.
type SyntaxError struct {
	File   string
	Offset int64
	Line   int
	Column int
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s (offset %d)", e.File, e.Line, e.Column, e.Msg, e.Offset)
}

// Dump is one Envoy's configuration and state. It keeps the bytes it was read
// from and decodes only what a call touches. Once filled it is safe for
// concurrent use.
type Dump struct {
	name string
	data []byte
	indexes

	status *statusIndex
	open   map[string]string // listeners by name, of /listeners
	certs  []Certificate
	server *ServerInfo
	stats  map[string]uint64

	cache cache
	rx    matcher.Regexps
}
