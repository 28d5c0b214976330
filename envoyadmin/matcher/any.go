package matcher

import (
	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// TypeName is the name of the message an Any holds, without the address before it. A TypedStruct, by which types that are
// not known are handed on, is named for what it stands for.
func TypeName(a *anypb.Any) string {
	name := typeName(a.GetTypeUrl())
	switch name {
	case "xds.type.v3.TypedStruct":
		t := &xdsv3.TypedStruct{}
		if proto.Unmarshal(a.GetValue(), t) == nil && t.GetTypeUrl() != "" {
			return typeName(t.GetTypeUrl())
		}
	case "udpa.type.v1.TypedStruct":
		t := &udpav1.TypedStruct{}
		if proto.Unmarshal(a.GetValue(), t) == nil && t.GetTypeUrl() != "" {
			return typeName(t.GetTypeUrl())
		}
	}
	return name
}

// Unpack decodes an Any into m. A field of m that this version of the API does not know is an error.
func Unpack(a *anypb.Any, m proto.Message) error { return unpack(a, m) }
