package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"golang.org/x/net/websocket"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// bothWays are two sites that differ in how Caddy talks to the upstream.
var bothWays = []world.Site{
	{Name: "over-h1"},
	{Name: "over-h2c", Handler: "transport http {\nversions h2c\n}"},
}

// way is one combination of protocols: the app's and the upstream's.
type way struct{ proto, site string }

func (y way) String() string { return y.proto + " " + y.site }

var allWays = []way{{"HTTP/1.1", "over-h1"}, {"HTTP/1.1", "over-h2c"}, {"h2c", "over-h1"}, {"h2c", "over-h2c"}}

// What HTTP can do works also where the first answer is a 401.
func TestHTTPThroughARefresh(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Sites: bothWays})
	for _, feature := range []struct {
		name string
		ways []way
		try  func(*world.World, way, string)
	}{
		{"chunked 401", allWays, chunked401},
		{"chunked 401 to stay", allWays, chunked401ToStay},
		{"early hints", allWays, earlyHints},
		{"trailers", allWays, trailers},
		{"server-sent events", allWays, serverSentEvents},
		{"early 401", allWays, early401},
		{"expect-continue", allWays[:2], expectContinue}, // its client speaks HTTP/1.1
		{"websocket", allWays[:1], webSocket},            // an upgrade, which HTTP/2 has not
	} {
		for _, y := range feature.ways {
			t.Run(feature.name+" "+y.String(), func(t *testing.T) {
				tenant := strings.NewReplacer(" ", "-", "/", "-").Replace(feature.name + " " + y.String())
				w := w.Within(t)
				w.SeedExpired(tenant)
				feature.try(w, y, tenant)
			})
		}
	}
}

func chunked401(w *world.World, y way, tenant string) {
	r := world.Request{Proto: y.proto, Site: y.site, Tenant: tenant, ID: tenant, Path: "/chunked", Body: []byte("question"), Chunked: true}
	res := w.Expect(r, 200)
	if string(res.Content) != strings.Join(upstream.Chunks, "") {
		w.Errorf("answer %q", res.Content)
	}
	w.Check(w.DeliveredOnce(r))
	w.Settled(tenant)
}

// The 401 of an upstream whose tenant cannot be refreshed reaches the app as it is.
func chunked401ToStay(w *world.World, y way, tenant string) {
	w.Check(w.Auth.Revoke(tenant))
	res := w.Expect(world.Request{Proto: y.proto, Site: y.site, Tenant: tenant, ID: tenant, Path: "/chunked"}, 401)
	if string(res.Content) != strings.Join(upstream.Chunks, "") || res.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
		w.Errorf("answer %v %q", res.Header, res.Content)
	}
	if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" {
		w.Errorf("code %q", code)
	}
}

func earlyHints(w *world.World, y way, tenant string) {
	var hints []string
	ctx := httptrace.WithClientTrace(w.Ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, header.Get("Link")))
			return nil
		},
	})
	r := world.Request{Proto: y.proto, Site: y.site, Tenant: tenant, ID: tenant, Path: "/hints"}
	res, err := w.Send(ctx, r)
	w.Check(err)
	w.Check(w.Delivered(r, res))
	if len(hints) == 0 || hints[len(hints)-1] != fmt.Sprint(103, upstream.Hint) {
		w.Errorf("hints: %q", hints)
	}
}

func trailers(w *world.World, y way, tenant string) {
	r := world.Request{
		Proto: y.proto, Site: y.site, Tenant: tenant, ID: tenant, Path: "/trailers",
		Body: world.RandomBytes(300 * world.KiB), Chunked: true, Trailer: http.Header{"X-Sum": {"a sum"}},
	}
	res := w.Expect(r, 200)
	if got := res.Trailer.Get("X-Length"); got != fmt.Sprint(len(r.Body)) {
		w.Errorf("trailer of the response: %q", res.Trailer)
	}
	w.Check(w.DeliveredOnce(r))
	for _, attempt := range w.API.Attempts(r.ID) {
		if got := attempt.Trailer["X-Sum"]; len(got) != 1 || got[0] != "a sum" {
			w.Errorf("trailer of request %d: %q", attempt.Number, attempt.Trailer)
		}
	}
}

// serverSentEvents reads the first event while the upstream waits to send the
// second: nothing on the way may hold it back.
func serverSentEvents(w *world.World, y way, tenant string) {
	req, err := world.Request{Site: y.site, Tenant: tenant, ID: tenant, Path: "/events"}.Build(w.Ctx)
	w.Check(err)
	res, err := w.Clients[y.proto].Transport.RoundTrip(req)
	w.Check(err)
	defer res.Body.Close()
	events := bufio.NewReader(res.Body)
	if line, err := events.ReadString('\n'); err != nil || line != "data: one\n" {
		w.Fatalf("first event %q, %v", line, err)
	}
	w.API.Release(tenant)
	if rest, err := io.ReadAll(events); err != nil || string(rest) != "\ndata: two\n\n" {
		w.Errorf("the rest %q, %v", rest, err)
	}
}

// early401 has the upstream answer 401 before it reads the body, and end that
// answer only once the replay has arrived. The upload goes on only when the replay
// has begun, or when half of it has been replayed.
func early401(w *world.World, y way, tenant string) {
	for _, half := range []int{0, 2 * world.MiB} {
		r := world.Request{
			Proto: y.proto, Site: y.site, Tenant: tenant, ID: fmt.Sprint(tenant, half), Path: "/early",
			Body: world.RandomBytes(5 * world.MiB), Chunked: true,
		}
		w.Check(w.Delivered(r, sendHalfway(w, r, 2, half)))
		if got := len(w.API.Attempts(r.ID)); got != 2 {
			w.Errorf("%d attempts", got)
		}
		w.Settled(tenant)
		w.Check(w.Auth.Expire(tenant))
	}
}

// expectContinue sends the body only when it is asked for.
func expectContinue(w *world.World, y way, tenant string) {
	for _, path := range []string{"/echo", "/early"} {
		w.Check(w.Auth.Expire(tenant))
		r := world.Request{Site: y.site, Tenant: tenant, ID: tenant + path, Path: path, Body: world.RandomBytes(64 * world.KiB)}
		conn := dial(w)
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nX-Tenant-ID: %s\r\nX-Request-Id: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
			path, y.site, tenant, r.ID, len(r.Body))
		reader := bufio.NewReader(conn)
		res, err := http.ReadResponse(reader, nil)
		w.Check(err)
		if res.StatusCode != http.StatusContinue {
			w.Fatalf("%s: status %d before the body", path, res.StatusCode)
		}
		_, err = conn.Write(r.Body)
		w.Check(err)
		for res.StatusCode == http.StatusContinue { // the upstream's own may follow Caddy's
			res, err = http.ReadResponse(reader, nil)
			w.Check(err)
		}
		body, err := io.ReadAll(res.Body)
		w.Check(err)
		w.Check(w.Delivered(r, world.Response{Response: res, Content: body}))
	}
}

func dial(w *world.World) net.Conn {
	w.Helper()
	conn, err := new(net.Dialer).DialContext(w.Ctx, "tcp", w.Caddy.Address)
	w.Check(err)
	w.Cleanup(func() { conn.Close() })
	deadline, _ := w.Ctx.Deadline()
	w.Check(conn.SetDeadline(deadline))
	return conn
}

func webSocket(w *world.World, y way, tenant string) {
	config, err := websocket.NewConfig("ws://"+y.site+"/socket", "http://"+y.site)
	w.Check(err)
	config.Header.Set("X-Tenant-ID", tenant)
	config.Header.Set(upstream.RequestID, tenant)
	ws, err := websocket.NewClient(config, dial(w))
	w.Check(err)
	for _, message := range []string{"ping", strings.Repeat("long ", 20_000)} {
		w.Check(websocket.Message.Send(ws, message))
		var back string
		if err := websocket.Message.Receive(ws, &back); err != nil || back != message {
			w.Fatalf("%d bytes back, %v", len(back), err)
		}
	}
	w.Check(ws.Close())
	if got := w.API.Attempts(tenant); len(got) != 2 || got[1].Tenant != tenant {
		w.Errorf("attempts: %+v", got)
	}
	w.Settled(tenant)
}
