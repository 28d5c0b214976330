package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// execError says how a program in a container ended.
type execError struct {
	code    int // exit status; -1 where the program was not started
	missing bool
	stderr  string
	argv    string
	where   string
}

func (e *execError) Error() string {
	what := fmt.Sprintf("%s in %s ended with status %d", e.argv, e.where, e.code)
	if e.missing {
		what = fmt.Sprintf("%s has no %s", e.where, strings.Fields(e.argv)[0])
	}
	if e.stderr != "" && !e.missing {
		what += ": " + e.stderr
	}
	return what
}

// exec runs a program in a container and returns what it wrote to its standard
// output, at most limit bytes.
func (s *Source) exec(ctx context.Context, ns, pod, container string, limit int64, argv ...string) ([]byte, error) {
	if err := s.limiter.Wait(ctx); err != nil {
		return nil, context.DeadlineExceeded
	}
	query := url.Values{"command": argv, "stdout": {"true"}, "stderr": {"true"}}
	if container != "" {
		query.Set("container", container)
	}
	u := s.url("/api/v1/namespaces/"+url.PathEscape(ns)+"/pods/"+url.PathEscape(pod)+"/exec", query)
	r := request{verb: "create", resource: "pods/exec", namespace: ns, name: pod}
	ws, err := remotecommand.NewWebSocketExecutor(s.config, http.MethodGet, u.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(s.config, http.MethodPost, u)
	if err != nil {
		return nil, err
	}
	// As kubectl: web sockets, and SPDY where something on the way (an old API
	// server, a proxy) does not speak them.
	var refused *apiError
	executor, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool { return s.fallback(err, r, &refused) })
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stdout := &boundedWriter{limit: limit, full: func() { cancel(errTooLarge) }, s: s}
	stderr := &boundedWriter{limit: 4 << 10, s: s}
	s.requests.Add(1)
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	if err == nil {
		return stdout.take(), nil
	}
	if errors.Is(context.Cause(ctx), errTooLarge) {
		return stdout.take(), fmt.Errorf("%w of %d bytes", errTooLarge, limit)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	where := ns + "/" + pod
	if container != "" {
		where += " (" + container + ")"
	}
	e := &execError{code: -1, argv: readable(strings.Join(argv, " ")), where: where, stderr: strings.Join(strings.Fields(string(stderr.take())), " ")}
	var exit utilexec.CodeExitError
	if errors.As(err, &exit) {
		e.code = exit.Code
		e.missing = exit.Code == 127 || exit.Code == 126
		if e.stderr == "" && !strings.HasPrefix(err.Error(), "command terminated") {
			e.stderr = err.Error()
		}
		return stdout.take(), e
	}
	if a := streamError(err, r); a != nil && a.code < 500 {
		return nil, a
	}
	if a := refused.again(err); a != nil {
		return nil, a
	}
	msg := err.Error()
	if strings.Contains(msg, "executable file not found") || strings.Contains(msg, "no such file or directory") {
		e.missing = true
		return nil, e
	}
	// Some kubelets report the end of the program only in words.
	if m := exitStatus.FindStringSubmatch(msg); m != nil {
		e.code, _ = strconv.Atoi(m[1])
		e.missing = e.code == 127 || e.code == 126
		return stdout.take(), e
	}
	return nil, fmt.Errorf("exec in %s: %w", where, err)
}

var exitStatus = regexp.MustCompile(`exit (?:status|code) (\d{1,3})\b`)

// fallback says whether SPDY is to be tried after a web socket failed, which is
// one request more. A refusal is about the verb: a web socket is a GET, and the
// right that people are given for exec and port-forward is to create.
//
// refused is the answer, where it is a refusal.
func (s *Source) fallback(err error, r request, refused **apiError) bool {
	var status *apierrors.StatusError
	if errors.As(upgradeCause(err), &status) && (status.ErrStatus.Code == http.StatusUnauthorized || status.ErrStatus.Code == http.StatusNotFound) {
		return false // the answer is about the user or the Pod, not the protocol
	}
	if !httpstream.IsUpgradeFailure(err) && !httpstream.IsHTTPSProxyError(err) {
		return false
	}
	if a := streamError(err, r); a != nil && a.code == http.StatusForbidden {
		*refused = a
	}
	s.requests.Add(1)
	return true
}

// again is the refusal of the second try, if that is what err is: SPDY's errors
// are a text. nil stands for no refusal of the first.
func (e *apiError) again(err error) *apiError {
	if e == nil {
		return nil
	}
	_, msg, ok := strings.Cut(err.Error(), "unable to upgrade connection: ")
	if !ok || !strings.Contains(msg, "forbidden") {
		return nil
	}
	second := *e
	second.message = msg
	return &second
}

// upgradeCause is what an upgrade failed of: that error does not unwrap.
func upgradeCause(err error) error {
	var upgrade *httpstream.UpgradeFailureError
	if errors.As(err, &upgrade) && upgrade.Cause != nil {
		return upgrade.Cause
	}
	return err
}

// streamError is the API server's refusal of an upgrade, or nil.
func streamError(err error, r request) *apiError {
	var status *apierrors.StatusError
	if !errors.As(upgradeCause(err), &status) {
		return nil
	}
	return &apiError{
		code: int(status.ErrStatus.Code), message: status.ErrStatus.Message, reason: string(status.ErrStatus.Reason),
		verb: r.verb, resource: r.resource, group: r.group, namespace: r.namespace, name: r.name,
	}
}

// boundedWriter keeps the first limit bytes. The streams of a command may still
// write after the command was given up.
type boundedWriter struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	limit int64
	full  func()
	s     *Source
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	w.s.bytes.Add(int64(len(p)))
	w.mu.Lock()
	defer w.mu.Unlock()
	room := w.limit - int64(w.buf.Len())
	if int64(len(p)) > room {
		w.buf.Write(p[:max(room, 0)])
		if w.full != nil {
			w.full()
		}
		return len(p), nil
	}
	return w.buf.Write(p)
}

func (w *boundedWriter) take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.buf.Bytes())
}
