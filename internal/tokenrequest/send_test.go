package tokenrequest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestSendingOverTCP(t *testing.T) { testSending(t, false) }
func TestSendingOverTLS(t *testing.T) { testSending(t, true) }

func testSending(t *testing.T, secure bool) {
	t.Run("nothing is sent before Send, then one request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		_ = other.raw.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := other.raw.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read %d, %v", n, err)
		}
		_ = other.raw.SetDeadline(time.Now().Add(20 * time.Second))
		requests := answer(t, other, grantedAnswer)
		before := time.Now()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		if err != nil || r.Status != 200 || !strings.Contains(string(r.Body), "canary-a2") || r.Truncated || r.At.Before(before) {
			t.Fatalf("got %+v, %v", r, err)
		}
		if n := <-requests; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("a large request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, grantedAnswer)
		if r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 1<<20), soon()); err != nil || r.Status != 200 {
			t.Fatalf("got %+v, %v", r, err)
		}
		if n := <-requests; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("Send has passed", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		limits := soon()
		limits.Start = limits.Start.Add(-limits.Send)
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), limits)
		want(t, r, err, notSent, "unspent")
		wantNothing(t, other)
	})
	t.Run("Send has passed by the wall clock alone", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		limits := soon()
		limits.Start = wallEarlier(t, limits.Start, limits.Send)
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), limits)
		want(t, r, err, notSent, "unspent")
		wantNothing(t, other)
	})
	t.Run("Listen has passed", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), tokenrequest.Limits{Start: time.Now(), Send: time.Hour})
		want(t, r, err, notSent, "unspent")
		wantNothing(t, other)
	})
	t.Run("closed before Send", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		conn.Close()
		conn.Close()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		want(t, r, err, notSent, "unspent")
		wantNothing(t, other)
	})
	t.Run("closed during Send", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(other)); err != nil {
				t.Error(err)
			}
			conn.Close()
		}()
		limits := soon()
		_, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), limits)
		if e := problem(t, err); flags(e) != "no response" || time.Since(limits.Start) >= limits.Listen {
			t.Errorf("got %v (%s) after %v", e, flags(e), time.Since(limits.Start))
		}
	})
	t.Run("closed in the middle of the answer", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(other)); err != nil {
				t.Error(err)
			}
			io.WriteString(other, strings.Replace(grantedAnswer, "32", "99", 1))
			conn.Close()
		}()
		// Which part of the answer was read by then is not known.
		if r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon()); err == nil && !r.Truncated || err != nil && flags(problem(t, err)) != "no response" {
			t.Errorf("got %+v, %v", r, err)
		}
	})
	t.Run("the caller's context has ended", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, grantedAnswer)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r, err := conn.Send(ctx, refreshRequest(t, p.url, 0), soon()); err != nil || r.Status != 200 {
			t.Fatalf("got %+v, %v", r, err)
		}
		<-requests
	})
	t.Run("sent twice", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, grantedAnswer)
		if _, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon()); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		if e := problem(t, err); flags(e) != "" {
			t.Errorf("got %v (%s)", e, flags(e))
		}
		if n := <-requests; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("reset before the request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		_ = other.raw.SetLinger(0)
		other.raw.Close()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		want(t, r, err, notSent, "unspent, no response")
	})
	t.Run("reset after the request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(other)); err != nil {
				t.Error(err)
			}
			_ = other.raw.SetLinger(0)
			other.raw.Close()
		}()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		want(t, r, err, ended, "no response")
	})
	t.Run("closed after the request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(other)); err != nil {
				t.Error(err)
			}
			other.Close()
		}()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		want(t, r, err, ended, "no response")
		// Nor does it come again on another connection.
		_ = p.listener.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if again, err := p.listener.Accept(); err == nil {
			again.Close()
			t.Error("a second connection")
		}
	})
	t.Run("reset in the middle of the request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		go func() {
			_, _ = io.ReadFull(other, make([]byte, 10))
			_ = other.raw.SetLinger(0)
			other.raw.Close()
		}()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 8<<20), soon())
		want(t, r, err, ended, "no response")
	})
	t.Run("no answer in time", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, "")
		limits := tokenrequest.Limits{Start: time.Now(), Send: 200 * time.Millisecond, Listen: 300 * time.Millisecond}
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), limits)
		want(t, r, err, late, "no response")
		if took := time.Since(limits.Start); took < limits.Listen {
			t.Errorf("took %v", took)
		}
		if n := <-requests; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("no end of the answer in time", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, strings.Replace(grantedAnswer, "32", "99", 1))
		limits := tokenrequest.Limits{Start: time.Now(), Send: 200 * time.Millisecond, Listen: 300 * time.Millisecond}
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), limits)
		if err != nil || !r.Truncated || !strings.Contains(string(r.Body), "canary-a2") {
			t.Errorf("got %+v, %v", r, err)
		}
		<-requests
	})
	t.Run("garbage", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, "canary-a2 canary-r2\r\n\r\n")
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		want(t, r, err, ended, "no response")
		<-requests
	})
	t.Run("a header without an end", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("canary", 20<<10))
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		want(t, r, err, ended, "no response")
		<-requests
	})
	t.Run("informational answers first", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"+grantedAnswer)
		if r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon()); err != nil || r.Status != 200 {
			t.Errorf("got %+v, %v", r, err)
		}
		<-requests
	})
	t.Run("another protocol", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		requests := answer(t, other, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: canary\r\nConnection: Upgrade\r\n\r\n")
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		if err != nil || r.Status != 101 {
			t.Fatalf("got %+v, %v", r, err)
		}
		if _, _, e := r.TokenResponse(); e == nil || flags(e) != "no response" {
			t.Errorf("got %v", e)
		}
		<-requests
	})
	t.Run("an answer before the request is read", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		go func() {
			_, _ = io.ReadFull(other, make([]byte, 10))
			io.WriteString(other, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			other.raw.Close() // resets the connection, since there is more to read
		}()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 4<<20), soon())
		if err != nil || r.Status != 413 {
			t.Fatalf("got %+v, %v", r, err)
		}
	})
	t.Run("an answer before there is a request", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		io.WriteString(other, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		requests := answer(t, other, "")
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		conn.Close()
		// Whether it is taken for the answer depends on who is faster.
		switch n := <-requests; {
		case n > 1:
			t.Errorf("%d requests", n)
		case err != nil && problem(t, err).Unspent && n > 0, err == nil && r.Status != 503:
			t.Errorf("%d requests, %+v, %v", n, r, err)
		}
	})
	t.Run("closed as soon as it is accepted", func(t *testing.T) {
		p := newPeer(t, secure)
		conn, other := p.dial()
		other.Close()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		if r != nil || !problem(t, err).NoResponse {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

// scripted is a connection whose writes do as told.
type scripted struct {
	net.Conn
	write func(b []byte) (int, error)
}

func (s scripted) Write(b []byte) (int, error) { return s.write(b) }

func TestWhatAFailedWriteMeans(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		write           func(n, size int) (int, error) // the result of write n
		reason, meaning string
	}{
		"the first wrote nothing":  {func(int, int) (int, error) { return 0, broken }, notSent, "unspent, no response"},
		"the first wrote one byte": {func(int, int) (int, error) { return 1, broken }, ended, "no response"},
		"the second wrote nothing": {func(n, size int) (int, error) {
			if n == 1 {
				return size, nil
			}
			return 0, broken
		}, ended, "no response"},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			writes := 0
			client := tokenrequest.NewTestClient(func(context.Context, string, string) (net.Conn, error) {
				return scripted{ours, func(b []byte) (int, error) {
					writes++
					return test.write(writes, len(b))
				}}, nil
			}, nil)
			r, err := tokenrequest.Do(t.Context(), client, refreshRequest(t, "http://localhost/token", 10<<10), nil, soon())
			want(t, r, err, test.reason, test.meaning)
		})
	}
}

func TestWhatIsReportedUnsentNeverGoesOut(t *testing.T) {
	writes := 0
	conn, closeGate := tokenrequest.OpenedGate(scripted{nil, func(b []byte) (int, error) {
		writes++
		return len(b), nil
	}}, soon())
	if closeGate() {
		t.Error("sent before it was written")
	}
	if n, err := conn.Write([]byte("POST")); n != 0 || err == nil || writes != 0 || closeGate() {
		t.Errorf("wrote %d, %v", n, err)
	}
}

// piped returns a client whose connection ends in other.
func piped(t *testing.T) (client *tokenrequest.Client, other net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	return tokenrequest.NewTestClient(func(context.Context, string, string) (net.Conn, error) { return ours, nil }, nil), theirs
}

func TestASlowAnswerIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		after time.Duration
		want  bool
	}{"11 s": {11 * time.Second, true}, "59 s": {59 * time.Second, true}, "61 s": {61 * time.Second, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, other := piped(t)
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					req, err := http.ReadRequest(bufio.NewReader(other))
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.ReadAll(req.Body)
					<-time.After(test.after)
					io.WriteString(other, grantedAnswer)
				}()
				start := time.Now()
				limits := tokenrequest.Limits{Start: start, Send: 10 * time.Second, Listen: time.Minute}
				r, err := tokenrequest.Do(t.Context(), client, refreshRequest(t, "http://localhost/token", 0), nil, limits)
				took := time.Since(start)
				<-answered
				if !test.want {
					want(t, r, err, late, "no response")
					if took != time.Minute {
						t.Errorf("took %v", took)
					}
					return
				}
				if err != nil || r.Status != 200 || took != test.after || !r.At.Equal(start) {
					t.Errorf("got %+v, %v after %v", r, err, took)
				}
			})
		})
	}
}

func TestTheClockIsLookedAtRightBeforeTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, other := piped(t)
		conn, err := client.Dial(t.Context(), "http://localhost/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		limits := tokenrequest.Limits{Start: time.Now(), Send: 10 * time.Second, Listen: time.Minute}
		<-time.After(10 * time.Second) // the claim took that long
		r, err := conn.Send(t.Context(), refreshRequest(t, "http://localhost/token", 0), limits)
		want(t, r, err, notSent, "unspent")
		wantNothing(t, other)
	})
}
