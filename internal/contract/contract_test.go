package contract

import (
	"reflect"
	"strings"
	"testing"
)

// Described is a struct as it is printed.
type Described struct {
	Name string `json:"name"` // what it goes by
	// Doc stands above its field.
	Doc []string `json:"doc,omitempty"`

	Plain int    `json:"plain"`
	Inner *Inner `json:"inner,omitempty"` // one more
}

// Inner is below it.
type Inner struct {
	Probability float64 `json:"probability"` // a part
	Hidden      string  `json:"-"`
	unexported  bool
}

func TestTheSchemaHasTheCommentsAndWhatIsAlwaysThere(t *testing.T) {
	_ = Inner{unexported: true}
	s := &Schema{Root: reflect.TypeFor[Described](), Sources: []string{"contract_test.go"}, Hidden: true, Fields: map[string]Object{"Described.name": {{"enum", []string{"a"}}}}}
	got, err := s.JSON()
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(got)), "")
	for _, want := range []string{
		`"name":{"description":"whatitgoesby","type":"string","enum":["a"]}`, `"doc":{"description":"Docstandsaboveitsfield.","type":"array"`, `"plain":{"type":"integer"}`,
		`"required":["name","plain"]`, `"probability":{"description":"apart","type":"number","minimum":0,"maximum":1.000001}`, `"description":"Innerisbelowit."`,
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(flat, "Hidden") || strings.Contains(flat, "unexported") {
		t.Errorf("%s", got)
	}
}

func TestWhatCannotBeDescribedIsAnError(t *testing.T) {
	for want, s := range map[string]*Schema{
		"Described.Plain has no comment":   {Root: reflect.TypeFor[Described](), Hidden: true, Described: true},
		"Inner.Hidden has no name in JSON": {Root: reflect.TypeFor[Inner]()},
		"Unnamed has no constants":         {Root: reflect.TypeFor[Enumerated]()},
		"no such file":                     {Root: reflect.TypeFor[Inner](), Sources: []string{"none.go"}},
		"chan int has no counterpart":      {Root: reflect.TypeFor[Odd]()},
	} {
		s.Sources = append(s.Sources, "contract_test.go")
		if _, err := s.JSON(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Unnamed is an enumeration without members.
type Unnamed string

// Enumerated has such a field.
type Enumerated struct {
	Of Unnamed `json:"of"`
}

// Odd has no counterpart in JSON.
type Odd struct {
	Named chan int `json:"named"`
}
