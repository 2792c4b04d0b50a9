package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

// TestRefusedStreamIsSentAgainByTheTransport has an HTTP/2 server refuse a stream
// that it has read a part of (REFUSED_STREAM: it did nothing with it). net/http then
// asks for the body once more.
func TestRefusedStreamIsSentAgainByTheTransport(t *testing.T) {
	body := string(bodytest.RandomBytes(50_000))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(chan string, 1)
	conns := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			close(conns)
			return
		}
		conns <- conn
		refuseFirstStream(conn, bodies)
	}()
	defer func() {
		listener.Close()
		if conn := <-conns; conn != nil {
			conn.Close()
		}
	}()

	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	x, c := newExchange(t)
	req := newRequest(t, x, "POST", "http://"+listener.Addr().String(), unsized{strings.NewReader(body)})
	res, err := (&Transport{Base: transport}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := <-bodies; res.StatusCode != 204 || got != body {
		t.Errorf("%d after %d bytes", res.StatusCode, len(got))
	}
	c.expect(t, 0, 0, 0)
}

// refuseFirstStream refuses the first stream at its first data and answers the
// others with 204 at their end.
func refuseFirstStream(conn net.Conn, bodies chan<- string) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	var body strings.Builder
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = framer.WritePing(true, frame.Data)
			}
		case *http2.DataFrame:
			if n := len(frame.Data()); n > 0 {
				_ = framer.WriteWindowUpdate(0, uint32(n))
			}
			if frame.StreamID == 1 {
				_ = framer.WriteRSTStream(1, http2.ErrCodeRefusedStream)
				continue
			}
			body.Write(frame.Data())
			if frame.StreamEnded() {
				var block bytes.Buffer
				_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
				_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
				bodies <- body.String()
			}
		}
	}
}
