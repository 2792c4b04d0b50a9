package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answer(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
}

func TestRequestWithoutExchangePassesUntouched(t *testing.T) {
	req, _ := http.NewRequest("POST", "http://upstream.example/", strings.NewReader("body"))
	res := answer(http.StatusUnauthorized)
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		if got != req {
			t.Error("another request was sent")
		}
		return res, nil
	})}
	if got, err := transport.RoundTrip(req); got != res || err != nil {
		t.Fatal(got, err)
	}
}

func TestClosedExchangeAuthenticatesNothing(t *testing.T) {
	x, _ := newExchange(t)
	req := newRequest(t, x, "GET", "http://upstream.example/", nil)
	x.Close()
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		if got != req || got.Header.Get("Authorization") != "" {
			t.Errorf("sent %v", got.Header)
		}
		return answer(200), nil
	})}
	if _, err := transport.Send(req, x); err != nil {
		t.Fatal(err)
	}
}

func TestPrivateFieldsAreNotSent(t *testing.T) {
	x, _ := newExchange(t)
	x.NamedBy.Headers = []string{"X-Tenant-Id"}
	req := newRequest(t, x, "GET", "http://upstream.example/", nil)
	req.Header = http.Header{"X-Tenant-Id": {"acme"}, "Accept": {"a"}}
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		if want := (http.Header{"Authorization": {"Bearer old"}, "Accept": {"a"}}); !reflect.DeepEqual(got.Header, want) {
			t.Errorf("sent %v", got.Header)
		}
		return answer(200), nil
	})}
	res, err := transport.Send(req, x)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := res.Request.Header["X-Tenant-Id"]; there {
		t.Error("the proxy's logs would show the tenant")
	}
}

func TestGivenRequestIsNotChanged(t *testing.T) {
	x, _ := newExchange(t, &headerScheme{name: "X-Api-Key"}, &queryScheme{"key"})
	req := newRequest(t, x, "POST", "http://upstream.example/a?b=c&key=stolen", strings.NewReader("body"))
	req.Header = http.Header{"x-api-key": {"stolen"}, "X_Api_Key": {"stolen"}, "Accept": {"a", "b"}}
	req.Trailer = http.Header{"X-Api-Key": nil, "X-Sum": nil}
	header, trailer, url, body := req.Header.Clone(), req.Trailer.Clone(), *req.URL, req.Body

	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		want := http.Header{"X-Api-Key": {"old"}, "Accept": {"a", "b"}}
		if !reflect.DeepEqual(got.Header, want) || got.URL.RawQuery != "b=c&key=old" {
			t.Errorf("sent %v, %s", got.Header, got.URL)
		}
		if _, there := got.Trailer["X-Api-Key"]; there || len(got.Trailer) != 1 {
			t.Errorf("sent trailers %v", got.Trailer)
		}
		if got.ContentLength != 4 {
			t.Errorf("sent length %d", got.ContentLength)
		}
		bodytest.MustRead(t, got.Body, []byte("body"))
		got.Header.Set("X-Other", "1")
		got.Trailer.Set("X-Other", "1")
		got.URL.Path = "/other" // Its query is another, so it is a copy.
		return answer(200), nil
	})}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(req.Header, header) || !reflect.DeepEqual(req.Trailer, trailer) || *req.URL != url || req.Body != body {
		t.Errorf("the request was changed: %v %v %v", req.Header, req.Trailer, req.URL)
	}
	if res.Request != req {
		t.Error("the response names another request")
	}
}

func TestNoBodyStaysNone(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		x, c := newExchange(t)
		req := newRequest(t, x, "POST", "http://upstream.example/", nil)
		req.Body = body
		attempts := 0
		transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
			if got.Body != nil || got.GetBody != nil {
				t.Errorf("body %v", got.Body)
			}
			attempts++
			if attempts == 1 {
				return answer(http.StatusUnauthorized), nil
			}
			return answer(200), nil
		})}
		res, err := transport.RoundTrip(req)
		if err != nil || res.StatusCode != 200 || attempts != 2 {
			t.Fatal(res, err, attempts)
		}
		c.expect(t, 1, 0, 1)
	}
}

func TestRefusedRequestIsSentOnceMore(t *testing.T) {
	bodies := map[string]string{"nothing": "", "1 KiB": string(bodytest.RandomBytes(1 << 10)), "300 KiB": string(bodytest.RandomBytes(300 << 10)), "1 MiB": string(bodytest.RandomBytes(1 << 20))}
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, onlyNew)
		for name, body := range bodies {
			for _, sized := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, sized %v", name, sized), func(t *testing.T) {
					x, c := newExchange(t)
					var source io.Reader = strings.NewReader(body)
					length := fmt.Sprint(len(body))
					if !sized {
						source, length = unsized{source}, "-1"
					}
					res := u.roundTrip(t, newRequest(t, x, "POST", u.URL, source))
					expectAnswer(t, res, 200, body)
					if got := res.Header.Get("X-Length"); got != length {
						// The transport finds out that there is nothing in it.
						if body != "" || got != "0" && got != "-1" {
							t.Errorf("length %s was sent; want %s", got, length)
						}
					}
					c.expect(t, 1, 0, 1)
				})
			}
		}
		t.Run("HEAD", func(t *testing.T) {
			x, c := newExchange(t)
			expectAnswer(t, u.roundTrip(t, newRequest(t, x, "HEAD", u.URL, nil)), 200, "")
			c.expect(t, 1, 0, 1)
		})
	})
}

func TestReplayUsesTheSameConnection(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, onlyNew)
		u.connect(t)
		established := u.conns.Load()
		inner := u.Base
		for range 3 {
			x, c := newExchange(t)
			ended := make(chan struct{})
			u.Base = roundTripperFunc(func(req *http.Request) (*http.Response, error) {
				res, err := inner.RoundTrip(req)
				if err == nil && res.StatusCode == 401 {
					res.Body = &endingBody{ReadCloser: res.Body, ended: ended}
				}
				return res, err
			})
			c.refresh = func(context.Context, *credential.Credential) (*credential.Credential, error) {
				<-ended // Nobody but us reads it.
				return mustCredential(t, "new"), nil
			}
			expectAnswer(t, u.roundTrip(t, newRequest(t, x, "GET", u.URL, nil)), 200, "")
		}
		if n := u.conns.Load(); n != established {
			t.Errorf("%d more connections", n-established)
		}
	})
}

// connect makes requests until one finds a connection there: net/http hands a new
// HTTP/2 connection to its first request before it offers it to others.
func (u *upstreamServer) connect(t *testing.T) {
	t.Helper()
	for range 20 {
		before := u.conns.Load()
		req, err := http.NewRequestWithContext(t.Context(), "GET", u.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := u.Base.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if u.conns.Load() == before {
			return
		}
	}
	t.Fatal("no connection is used twice")
}

// endingBody tells when it has been read to its end.
type endingBody struct {
	io.ReadCloser
	ended chan struct{}
}

func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		close(b.ended)
	}
	return n, err
}

func TestAnswerBeforeTheUploadEnds(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		refused := make(chan struct{})
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer new" {
				defer close(refused)
				_, _ = io.ReadFull(r.Body, make([]byte, 5))
				refuseEarly(t, w, r)
				return
			}
			onlyNew(w, r)
		})
		x, c := newExchange(t)
		client, sender := io.Pipe()
		go func() {
			fmt.Fprint(sender, "first")
			<-refused
			// The next read of the client is the refused attempt's by now, or will be.
			fmt.Fprint(sender, " second")
			fmt.Fprint(sender, " third")
			sender.Close()
		}()
		expectAnswer(t, u.roundTrip(t, newRequest(t, x, "POST", u.URL, client)), 200, "first second third")
		c.expect(t, 1, 0, 1)
	})
}

func TestReplayBeginsWhileTheClientIsSilent(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		replayed := make(chan struct{})
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer new" {
				_, _ = io.ReadFull(r.Body, make([]byte, 5))
				close(replayed)
				onlyNew(w, r)
				return
			}
			refuseEarly(t, w, r)
		})
		x, _ := newExchange(t)
		client, sender := io.Pipe()
		go func() {
			fmt.Fprint(sender, "first")
			<-replayed // Nothing comes before the second attempt has what is there.
			fmt.Fprint(sender, " second")
			sender.Close()
		}()
		expectAnswer(t, u.roundTrip(t, newRequest(t, x, "POST", u.URL, client)), 200, " second")
	})
}

// describe is what of an answer the client sees.
func describe(t *testing.T, res *http.Response) string {
	t.Helper()
	announced := len(res.Trailer)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	header := maps.Clone(res.Header)
	delete(header, "Date")
	return fmt.Sprint(res.Status, res.Proto, header, res.ContentLength, res.TransferEncoding, res.Uncompressed, announced, res.Trailer, len(body), string(body))
}

func TestAnswerIsUntouchedWhenTheRefreshFails(t *testing.T) {
	refusals := map[string]http.HandlerFunc{
		"empty": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) },
		"sized": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "refused", 401) },
		"chunked": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			for range 10 {
				fmt.Fprint(w, "refused ")
				w.(http.Flusher).Flush()
			}
		},
		"large": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			_, _ = w.Write(bodytest.RandomBytes(500_000))
		},
		"exactly what is held": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(bufferedMax))
			w.WriteHeader(401)
			_, _ = w.Write(bodytest.RandomBytes(bufferedMax))
		},
		"trailers": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Add("X-Twice", "1")
			w.Header().Add("X-Twice", "2")
			w.WriteHeader(401)
			fmt.Fprint(w, "refused")
			w.Header().Set("X-Sum", "1")
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		},
		"large with trailers": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			_, _ = w.Write(bodytest.RandomBytes(500_000))
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		},
	}
	eachProtocol(t, func(t *testing.T, protocol string) {
		for name, refuse := range refusals {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				t.Run(name+" "+method, func(t *testing.T) {
					u := newUpstream(t, protocol, refuse)
					plain, err := u.Base.RoundTrip(newRequest(t, nil, method, u.URL, nil))
					if err != nil {
						t.Fatal(err)
					}
					want := describe(t, plain)

					x, c := newExchange(t)
					c.refresh = func(context.Context, *credential.Credential) (*credential.Credential, error) {
						return nil, errors.New("no")
					}
					res := u.roundTrip(t, newRequest(t, x, method, u.URL, nil))
					if got := res.Header[HeaderError]; len(got) != 1 || got[0] != "refresh_failed" {
						t.Errorf("%s: %q", HeaderError, got)
					}
					res.Header.Del(HeaderError)
					if got := describe(t, res); got != want {
						t.Errorf("got  %.300s\nwant %.300s", got, want)
					}
					if (plain.Body == http.NoBody) != (res.Body == http.NoBody) {
						t.Error("NoBody is not what it was")
					}
					c.expect(t, 1, 0, 0)
				})
			}
		}
	})
}

func TestRefusalThatNeverEndsDelaysNothing(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		enough := make(chan struct{})
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer new" {
				onlyNew(w, r)
				return
			}
			w.WriteHeader(401)
			fmt.Fprint(w, "refused")
			w.(http.Flusher).Flush()
			<-enough
			fmt.Fprint(w, " at last")
		})
		t.Run("replayed", func(t *testing.T) {
			x, _ := newExchange(t)
			expectAnswer(t, u.roundTrip(t, newRequest(t, x, "POST", u.URL, strings.NewReader("body"))), 200, "body")
		})
		t.Run("passed on", func(t *testing.T) {
			x, c := newExchange(t)
			c.refresh = func(context.Context, *credential.Credential) (*credential.Credential, error) {
				return nil, errors.New("no")
			}
			res := u.roundTrip(t, newRequest(t, x, "GET", u.URL, nil))
			begin := make([]byte, 7)
			if _, err := io.ReadFull(res.Body, begin); err != nil || string(begin) != "refused" {
				t.Fatal(string(begin), err)
			}
			close(enough)
			expectAnswer(t, res, 401, " at last")
		})
	})
}

func TestOwnTrailersOfAnUpstreamAreRemovedUnannounced(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "4")
			w.WriteHeader(401)
			fmt.Fprint(w, "body")
			w.Header().Set(http.TrailerPrefix+"Upstream-Auth-Error", "forged")
		})
		for _, refreshed := range []bool{true, false} {
			x, _ := newExchange(t)
			if !refreshed {
				x.RefreshOn = func(int, http.Header) bool { return false }
			}
			if seen := describe(t, u.roundTrip(t, newRequest(t, x, "GET", u.URL, nil))); strings.Contains(seen, "forged") {
				t.Error(seen)
			}
		}
	})
}

func TestOwnHeadersOfAnUpstreamAreRemoved(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Upstream-Auth-Error, X-Sum")
			w.Header().Set("upstream-auth-replay", "forged")
			w.Header().Set("Upstream_Auth_Error", "forged")
			w.Header().Add("Upstream-Auth-Replay", "forged")
			w.Header().Set("Upstream-Auth-Errors", "other")
			w.WriteHeader(200)
			fmt.Fprint(w, "body")
			w.Header().Set("Upstream-Auth-Error", "forged")
			w.Header().Set("X-Sum", "1")
		})
		x, _ := newExchange(t)
		res := u.roundTrip(t, newRequest(t, x, "GET", u.URL, nil))
		announced := len(res.Trailer)
		seen := describe(t, res)
		if strings.Contains(seen, "forged") || !strings.Contains(seen, "other") || announced != 1 || res.Trailer.Get("X-Sum") != "1" {
			t.Error(seen)
		}
	})
}

func TestTrailersOfTheClientAreSentInEachAttempt(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.Header.Get("Authorization") != "Bearer new" {
				w.WriteHeader(401)
			}
			fmt.Fprint(w, r.Trailer)
		})
		x, _ := newExchange(t)
		req := newRequest(t, x, "POST", u.URL, nil)
		req.Trailer = http.Header{"X-Sum": nil, "X-Api-Key": nil}
		req.ContentLength = -1
		req.Body = io.NopCloser(&bodytest.TrailerBody{Reader: strings.NewReader("body"), Trailer: req.Trailer,
			Values: http.Header{"X-Sum": {"1"}, "X-Api-Key": {"2"}, "Authorization": {"stolen"}, "authorization": {"stolen"}}})
		expectAnswer(t, u.roundTrip(t, req), 200, "map[X-Api-Key:[2] X-Sum:[1]]")
	})
}

func TestEachAttemptHasItsOwnTrailers(t *testing.T) {
	x, _ := newExchange(t)
	req := newRequest(t, x, "POST", "http://upstream.example/", nil)
	req.Trailer = http.Header{"X-Sum": nil}
	req.Body = io.NopCloser(&bodytest.TrailerBody{Reader: strings.NewReader("body"), Trailer: req.Trailer, Values: http.Header{"X-Sum": {"1"}, "X-More": {"2"}}})
	attempts := 0
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		if !reflect.DeepEqual(got.Trailer, http.Header{"X-Sum": nil}) {
			t.Errorf("announced %v", got.Trailer)
		}
		bodytest.MustRead(t, got.Body, []byte("body"))
		if !reflect.DeepEqual(got.Trailer, http.Header{"X-Sum": {"1"}, "X-More": {"2"}}) {
			t.Errorf("sent %v", got.Trailer)
		}
		if attempts++; attempts == 1 {
			return answer(401), nil
		}
		return answer(200), nil
	})}
	if _, err := transport.RoundTrip(req); err != nil || attempts != 2 {
		t.Fatal(err, attempts)
	}
}

func TestUpgradeIsNeverTakenForARefusal(t *testing.T) {
	x, c := newExchange(t)
	x.RefreshOn = func(int, http.Header) bool { return true }
	upgraded := answer(101)
	upgraded.Body = &endingBody{}
	res, err := (&Transport{Base: &script{answers: []any{upgraded}}}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil))
	if err != nil || res.Body != upgraded.Body {
		t.Fatal(res, err)
	}
	c.expect(t, 0, 0, 0)
}

func TestInformationalAnswersOfBothAttemptsPass(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			onlyNew(w, r)
		})
		x, _ := newExchange(t)
		var hints atomic.Int32
		req := newRequest(t, x, "GET", u.URL, nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { hints.Add(1); return nil },
		}))
		expectAnswer(t, u.roundTrip(t, req), 200, "")
		if n := hints.Load(); n != 2 {
			t.Errorf("%d early hints", n)
		}
	})
}

func TestRefusalInsteadOfContinueLeavesTheBodyUnread(t *testing.T) {
	u := newUpstream(t, "h1", onlyNew)
	x, _ := newExchange(t)
	var reads atomic.Int32
	inner := u.Base
	u.Base = roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		res, err := inner.RoundTrip(req)
		if req.Header.Get("Authorization") == "Bearer old" && reads.Load() != 0 {
			t.Error("the first attempt read the body")
		}
		return res, err
	})
	body := strings.NewReader("body")
	req := newRequest(t, x, "POST", u.URL, bodytest.ReaderFunc(func(p []byte) (int, error) { reads.Add(1); return body.Read(p) }))
	req.ContentLength = 4
	req.Header.Set("Expect", "100-continue")
	expectAnswer(t, u.roundTrip(t, req), 200, "body")
}

func TestUpgradedConnectionIsHandedOn(t *testing.T) {
	u := newUpstream(t, "h1", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer new" {
			http.Error(w, "refused", 401)
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		fmt.Fprint(conn, line)
	})
	x, c := newExchange(t)
	req := newRequest(t, x, "GET", u.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res := u.roundTrip(t, req)
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != 101 || !ok {
		t.Fatalf("%d, %T", res.StatusCode, res.Body)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
		t.Fatal(line, err)
	}
	c.expect(t, 1, 0, 1)
}

func TestTunnelIsNotRecorded(t *testing.T) {
	x, c := newExchange(t)
	req := newRequest(t, x, "CONNECT", "http://upstream.example/", strings.NewReader("body"))
	attempts := 0
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		attempts++
		bodytest.MustRead(t, got.Body, []byte("body"))
		if got.GetBody != nil || x.body.IsWhole() {
			t.Error("the body is recorded")
		}
		return answer(401), nil
	})}
	res, err := transport.RoundTrip(req)
	if err != nil || attempts != 1 || res.StatusCode != 401 || res.Header.Get(HeaderReplay) != "skipped; reason=body-not-recorded" {
		t.Fatal(res, err, attempts)
	}
	c.expect(t, 1, 0, 0)
}

// Java's HTTP client wishes for HTTP/2 in every request that it makes without TLS.
func TestRequestThatWishesForAnotherProtocolIsReplayed(t *testing.T) {
	x, c := newExchange(t)
	req := newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("body"))
	req.Header.Set("Connection", "Upgrade, HTTP2-Settings")
	req.Header.Set("Upgrade", "h2c")
	base := &script{answers: []any{401, 200}}
	res, err := (&Transport{Base: base}).RoundTrip(req)
	if err != nil || res.StatusCode != 200 || len(base.bodies) != 2 || base.bodies[1] != "body" {
		t.Fatal(res, err, base.bodies)
	}
	c.expect(t, 1, 0, 1)
}
