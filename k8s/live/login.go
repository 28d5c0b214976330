package live

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"
)

// loginLimit is how long a person may take to log in.
const loginLimit = 5 * time.Minute

// Login runs the login plugin that the kubeconfig names, if it names one, so that
// neither the time it takes nor what a person has to type counts as reading. With
// [Options].Screen it is asked first without the terminal, and with it where that
// was not enough; afterwards it must do without. Call it before the first trace,
// while the terminal is free. What goes wrong is told by the first read.
func (s *Source) Login(ctx context.Context) {
	if s.asks == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	if err := s.greet(ctx, s.client); err == nil || !s.opts.Screen || !noCredentials(err) {
		return
	}
	// The plugin keeps what it was told, as a rule: the second one finds it there.
	client, err := rest.HTTPClientFor(s.asks)
	if err != nil {
		return
	}
	client.Transport = prompt{client.Transport}
	defer client.CloseIdleConnections()
	if s.greet(ctx, client) == nil {
		_ = s.greet(ctx, s.client)
	}
}

// greet makes the one request that everybody may make.
func (s *Source) greet(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/version", nil).String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return unwrapURL(err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return err
}

// prompt is a transport whose requests end with their context also while a login
// plugin runs, which client-go waits for without one.
type prompt struct{ http.RoundTripper }

func (p prompt) RoundTrip(req *http.Request) (*http.Response, error) {
	type answer struct {
		resp *http.Response
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		resp, err := p.RoundTripper.RoundTrip(req)
		got <- answer{resp, err}
	}()
	select {
	case a := <-got:
		return a.resp, a.err
	case <-req.Context().Done():
		go func() {
			if a := <-got; a.err == nil {
				a.resp.Body.Close()
			}
		}()
		return nil, req.Context().Err()
	}
}

func (p prompt) CloseIdleConnections() { utilnet.CloseIdleConnectionsFor(p.RoundTripper) }

// noCredentials says whether a request failed before it was sent, because the
// plugin gave nothing. client-go says so in words only.
func noCredentials(err error) bool { return strings.Contains(err.Error(), "getting credentials: ") }

// offTerminal is the configuration with a plugin that gets no standard input.
func offTerminal(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	plugin := *config.ExecProvider
	plugin.StdinUnavailable = true
	if plugin.InteractiveMode == api.AlwaysExecInteractiveMode {
		// client-go would not even run it, though it may have kept what it was told.
		plugin.InteractiveMode = api.IfAvailableExecInteractiveMode
	}
	plugin.StdinUnavailableMessage = "the terminal UI has it; leave it and log in (kubectl get ns does), or run with -o text"
	config.ExecProvider = &plugin
	return config
}

// overheard calls make, which makes the client of a plugin: what the plugin says
// on standard error from then on is told. client-go takes os.Stderr as it is at
// that moment, and offers nothing else. Without a plugin, or a screen to protect,
// nothing is changed.
func overheard(config *rest.Config, opts Options, make func()) {
	if config.ExecProvider == nil || !opts.Screen || opts.Tell == nil {
		make()
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		make()
		return
	}
	stderr := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = stderr }()
	make()
	go func() {
		// Both ends live as long as the program, as the plugin does in client-go's
		// own cache. What ends without a line's end, a prompt, is told when nothing
		// follows.
		var line []byte
		tell := func() {
			if text := strings.TrimSpace(string(line)); text != "" {
				opts.Tell(text)
			}
			line = line[:0]
		}
		var buf [4096]byte
		for {
			n, err := r.Read(buf[:])
			for _, b := range buf[:n] {
				if line = append(line, b); b == '\n' || len(line) == len(buf) {
					tell()
				}
			}
			var wait time.Time
			if errors.Is(err, os.ErrDeadlineExceeded) {
				tell()
			} else if err != nil {
				return
			} else if len(line) > 0 {
				wait = time.Now().Add(200 * time.Millisecond)
			}
			_ = r.SetReadDeadline(wait)
		}
	}()
}
