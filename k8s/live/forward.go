package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// forward is one port-forward connection to a Pod. Every connection to a port
// of the Pod is a pair of streams over it; nothing listens on this machine.
type forward struct {
	pod    string
	once   sync.Once
	ready  chan struct{}
	conn   httpstream.Connection
	err    error
	nextID atomic.Int64
}

func (f *forward) close() {
	select {
	case <-f.ready:
		if f.conn != nil {
			f.conn.Close()
		}
	default:
		go func() { // a dial that still hangs
			<-f.ready
			if f.conn != nil {
				f.conn.Close()
			}
		}()
	}
}

// forward returns the connection to a Pod, made at the first use.
func (s *Source) forward(ctx context.Context, ns, pod string) (*forward, error) {
	key := ns + "/" + pod
	s.mu.Lock()
	f := s.forwards[key]
	if f == nil {
		f = &forward{pod: key, ready: make(chan struct{})}
		s.forwards[key] = f
	}
	s.mu.Unlock()
	f.once.Do(func() {
		if err := s.limiter.Wait(ctx); err != nil {
			f.err = context.DeadlineExceeded
			close(f.ready)
			return
		}
		s.requests.Add(1)
		go func() {
			defer close(f.ready)
			f.conn, f.err = s.dialForward(ns, pod)
		}()
	})
	select {
	case <-f.ready:
		return f, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Source) dialForward(ns, pod string) (httpstream.Connection, error) {
	u := s.url("/api/v1/namespaces/"+url.PathEscape(ns)+"/pods/"+url.PathEscape(pod)+"/portforward", nil)
	ws, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, s.config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(s.config)
	if err != nil {
		return nil, err
	}
	r := request{verb: "create", resource: "pods/portforward", namespace: ns, name: pod}
	var refused *apiError
	dialer := portforward.NewFallbackDialerForStreaming(ws, spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u),
		func(err error) bool { return s.fallback(err, r, &refused) })
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		if a := streamError(err, r); a != nil {
			return nil, a
		}
		if a := refused.again(err); a != nil {
			return nil, a
		}
		return nil, fmt.Errorf("port-forward to %s/%s: %w", ns, pod, err)
	}
	return conn, nil
}

// dial opens a connection to a port of the Pod.
func (f *forward) dial(s *Source, port int) (net.Conn, error) {
	id := strconv.FormatInt(f.nextID.Add(1)-1, 10)
	h := http.Header{}
	h.Set("streamType", "error")
	h.Set("port", strconv.Itoa(port))
	h.Set("requestID", id)
	errStream, err := f.conn.CreateStream(h)
	if err != nil {
		return nil, fmt.Errorf("port-forward to %s: %w", f.pod, err)
	}
	errStream.Close() // nothing is written to it
	h.Set("streamType", "data")
	data, err := f.conn.CreateStream(h)
	if err != nil {
		f.conn.RemoveStreams(errStream)
		return nil, fmt.Errorf("port-forward to %s: %w", f.pod, err)
	}
	c := &forwardConn{Stream: data, f: f, errStream: errStream, port: port, s: s, said: make(chan struct{})}
	go func() {
		defer close(c.said)
		msg, _ := io.ReadAll(io.LimitReader(errStream, 4<<10))
		if len(msg) > 0 {
			c.message = strings.Join(strings.Fields(string(msg)), " ")
			data.Reset() // a reader must not wait for what will not come
		}
	}()
	return c, nil
}

// forwardConn is one connection through a port-forward, as a net.Conn. What the
// other end says about a failed connection becomes the error of Read.
type forwardConn struct {
	httpstream.Stream
	f         *forward
	errStream httpstream.Stream
	port      int
	s         *Source
	said      chan struct{}
	message   string
	timedOut  atomic.Bool
	closed    sync.Once
}

func (c *forwardConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	c.s.bytes.Add(int64(n))
	if err != nil {
		if c.timedOut.Load() {
			return n, context.DeadlineExceeded
		}
		select {
		case <-c.said:
		case <-time.After(2 * time.Second): // of a server that does not end its stream of errors
			return n, err
		}
		if c.message != "" {
			return n, fmt.Errorf("port %d of %s: %s", c.port, c.f.pod, c.message)
		}
	}
	return n, err
}

func (c *forwardConn) Close() error {
	c.closed.Do(func() {
		c.Stream.Close()
		c.Stream.Reset()
		c.errStream.Reset()
		c.f.conn.RemoveStreams(c.Stream, c.errStream)
	})
	return nil
}

func (c *forwardConn) LocalAddr() net.Addr              { return forwardAddr("hoptrail") }
func (c *forwardConn) RemoteAddr() net.Addr             { return forwardAddr(c.f.pod + ":" + strconv.Itoa(c.port)) }
func (c *forwardConn) SetReadDeadline(time.Time) error  { return nil }
func (c *forwardConn) SetWriteDeadline(time.Time) error { return nil }
func (c *forwardConn) SetDeadline(time.Time) error      { return nil }

// closeWhen gives the connection up when ctx ends: the streams know no deadline.
func (c *forwardConn) closeWhen(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		c.timedOut.Store(true)
		c.Close()
	})
}

type forwardAddr string

func (a forwardAddr) Network() string { return "portforward" }
func (a forwardAddr) String() string  { return string(a) }

// cutError is an answer that had begun when its time was over.
type cutError struct {
	n   int
	err error
}

func (e *cutError) Error() string { return fmt.Sprintf("%v after %d bytes", e.err, e.n) }
func (e *cutError) Unwrap() error { return e.err }

// readable is a path, or a command that holds one, for a message: without the
// expression that chooses among the counters, which fills a screen.
func readable(path string) string {
	head, tail, ok := strings.Cut(path, "&filter=")
	if !ok {
		return path
	}
	head += "&filter=..."
	if _, rest, more := strings.Cut(tail, " "); more {
		head += " " + rest
	}
	return head
}

// adminError is a refusal by the server in the Pod itself.
type adminError struct{ msg string }

func (e *adminError) Error() string { return e.msg }

// getForwarded reads one answer of an HTTP server within a Pod.
func (s *Source) getForwarded(ctx context.Context, ns, pod string, port int, path string, limit int64) ([]byte, error) {
	f, err := s.forward(ctx, ns, pod)
	if err != nil {
		return nil, err
	}
	conn, err := f.dial(s, port)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer conn.(*forwardConn).closeWhen(ctx)()
	client := &http.Client{Transport: &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+strconv.Itoa(port)+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("GET %s of port %d in %s/%s: %w", readable(path), port, ns, pod, unwrapURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return nil, &adminError{fmt.Sprintf("GET %s of port %d in %s/%s: %s: %s", readable(path), port, ns, pod, resp.Status, bytes.TrimSpace(body))}
	}
	data, err := readAll(resp.Body, limit)
	if err != nil {
		if ctx.Err() != nil {
			return nil, &cutError{len(data), ctx.Err()}
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the connection ended")
		}
		return nil, fmt.Errorf("GET %s of port %d in %s/%s: %w after %d bytes", readable(path), port, ns, pod, err, len(data))
	}
	return data, nil
}
