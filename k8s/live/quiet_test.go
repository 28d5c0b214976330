package live

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

// A line of client-go's on stderr would stand in the middle of the terminal UI.
func TestClientGoIsQuiet(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = stderr }()

	quiet()
	ctx := klog.NewContext(context.Background(), klog.Background())
	runtime.HandleErrorWithContext(ctx, errors.New("use of closed network connection"), "Websocket Ping failed")
	klog.ErrorS(errors.New("broken"), "an error")
	klog.Warning("a warning")
	klog.Info("an information")
	klog.Flush()

	w.Close()
	said, err := io.ReadAll(r)
	if err != nil || len(said) > 0 {
		t.Errorf("client-go says %q, %v", said, err)
	}
}
