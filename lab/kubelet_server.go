package lab

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// kubelet is the server that the API server meets at every node. It answers for
// what kwok cannot do - a log without end, the logs of Pods whose programs the
// lab runs itself - and passes on everything else.
type kubelet struct {
	conns chan net.Conn
	done  chan struct{}
	http  *http.Server
}

func (k *kubelet) take(c net.Conn) {
	select {
	case k.conns <- c:
	case <-k.done:
		c.Close()
	}
}

// Accept, Close and Addr make it a [net.Listener].
func (k *kubelet) Accept() (net.Conn, error) {
	select {
	case c := <-k.conns:
		return c, nil
	case <-k.done:
		return nil, net.ErrClosed
	}
}

func (k *kubelet) Close() error   { return nil }
func (k *kubelet) Addr() net.Addr { return &net.UnixAddr{Name: "kubelet", Net: "unix"} }

// bufferedConn is a connection of which something was read already.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (l *Lab) serveKubelet() error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(l.dir, "kwok.crt"), filepath.Join(l.dir, "kwok.key"))
	if err != nil {
		return err
	}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: l.kwokAddr})
		},
		// kwok's certificate is one the lab made.
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	k := &kubelet{conns: make(chan net.Conn), done: make(chan struct{})}
	k.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := strings.Split(r.URL.Path, "/"); len(f) == 5 && f[1] == "containerLogs" && l.containerLog(w, r, f[2]+"/"+f[3], f[4]) {
				return
			}
			pass.ServeHTTP(w, r)
		}),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	l.kubelet = k
	go k.http.Serve(tls.NewListener(k, k.http.TLSConfig))
	l.mu.Lock()
	l.closers = append(l.closers, closerFunc(func() error {
		close(k.done)
		return k.http.Close()
	}))
	l.mu.Unlock()
	return nil
}

// EndlessLog makes the log of a Pod (namespace/name) one that is written to all
// the time and never ends, whoever asks for how much of it; "" ends that.
func (l *Lab) EndlessLog(pod string) { l.endlessLog.Store(&pod) }

// containerLog answers for logs that are not kwok's.
func (l *Lab) containerLog(w http.ResponseWriter, r *http.Request, pod, container string) bool {
	l.mu.Lock()
	printed, ok := l.printed[pod+"/"+container]
	l.mu.Unlock()
	if ok {
		w.Write(printed)
		return true
	}
	if endless := l.endlessLog.Load(); endless == nil || *endless != pod {
		return false
	}
	w.Write(l.world["proxies/"+pod+"/access.log"])
	for i := 0; r.Context().Err() == nil; i++ {
		// The API server hands on what fills its buffer of 4 KB.
		for range 10 {
			if _, err := fmt.Fprintf(w, "%s\tinfo\tline %d of a log that does not end\n", time.Now().UTC().Format(time.RFC3339), i); err != nil {
				return true
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}
