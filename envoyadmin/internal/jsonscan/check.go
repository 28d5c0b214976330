package jsonscan

import "fmt"

// Check reads the value at b[i] completely, with everything in it, and returns
// the index behind it. It finds the first byte that is not JSON, which [Value]
// may pass over. It does not recurse.
func Check(b []byte, i int) (int, error) {
	var stack []byte // of '{' and '['
	for {
		// A value is expected at i.
		if i >= len(b) {
			return i, fail(len(b), eof)
		}
		opened := false
		switch b[i] {
		case '{', '[':
			stack = append(stack, b[i])
			i = Space(b, i+1)
			if i >= len(b) {
				return i, fail(len(b), eof)
			}
			if b[i] == stack[len(stack)-1]+2 { // '}' and ']' stand two behind
				break
			}
			opened = true
		case '"':
			end, err := String(b, i)
			if err == nil {
				_, err = Unquote(b[i:end], i)
			}
			if err != nil {
				return end, err
			}
			i = end
		default:
			end, err := Value(b, i)
			if err != nil {
				return end, err
			}
			i = end
		}
		// Behind a value: close what ends here, up to the next value.
		for !opened {
			if len(stack) == 0 {
				return i, nil
			}
			i = Space(b, i)
			if i >= len(b) {
				return i, fail(len(b), eof)
			}
			top := stack[len(stack)-1]
			switch {
			case b[i] == top+2:
				stack = stack[:len(stack)-1]
				i++
			case b[i] == ',':
				i = Space(b, i+1)
				opened = true
			default:
				return i, fail(i, fmt.Sprintf("unexpected %q where a comma or %q is expected", b[i], top+2))
			}
		}
		if stack[len(stack)-1] == '{' {
			end, err := String(b, i)
			if err == nil {
				_, err = Unquote(b[i:end], i)
			}
			if err != nil {
				return end, err
			}
			i = Space(b, end)
			if i >= len(b) {
				return i, fail(len(b), eof)
			}
			if b[i] != ':' {
				return i, fail(i, fmt.Sprintf("unexpected %q where a colon is expected", b[i]))
			}
			i = Space(b, i+1)
		}
	}
}
