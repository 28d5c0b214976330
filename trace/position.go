package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Position is the line and the column, both counted from 1 and the column in
// bytes, of a byte offset into data.
func Position(data []byte, offset int64) (line, column int) {
	offset = max(0, min(offset, int64(len(data))))
	head := data[:offset]
	return 1 + bytes.Count(head, []byte("\n")), int(offset) - bytes.LastIndexByte(head, '\n')
}

// JSONError says where in file the JSON data is broken, as an [InputError].
// It knows the errors of encoding/json; of any other only the text is kept.
func JSONError(file string, data []byte, err error) error {
	e := &InputError{File: file, Msg: err.Error()}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		// The offset is that of the byte behind the one that broke.
		e.Offset = max(0, syntax.Offset-1)
		e.Msg = "broken JSON: " + syntax.Error()
		if syntax.Offset >= int64(len(data)) && !json.Valid(data) && syntax.Error() == "unexpected end of JSON input" {
			e.Offset = int64(len(data))
			e.Msg = "broken JSON: cut off in the middle"
		}
	case errors.As(err, &typ):
		e.Offset = typ.Offset
		e.Msg = fmt.Sprintf("%s is a JSON %s, not what belongs there", orRoot(typ.Field), typ.Value)
	default:
		return e
	}
	e.Line, e.Column = Position(data, e.Offset)
	return e
}

func orRoot(field string) string {
	if field == "" {
		return "the document"
	}
	return field
}
