package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"golang.org/x/net/websocket"
)

// Chunks are the parts that /chunked answers with, 401 and 200 alike.
var Chunks = []string{"first ", "second ", "third"}

func sendChunks(w http.ResponseWriter, status int) {
	control := http.NewResponseController(w)
	w.WriteHeader(status)
	for _, chunk := range Chunks {
		_, _ = io.WriteString(w, chunk)
		_ = control.Flush()
	}
}

// Hint is the Link header of the 103 of /hints.
const Hint = "</style.css>; rel=preload"

func sendHints(w http.ResponseWriter) {
	w.Header().Set("Link", Hint)
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
}

func sendTrailer(w http.ResponseWriter, attempt *Attempt) {
	w.Header().Set("Trailer", "X-Length")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "a trailer follows")
	_ = http.NewResponseController(w).Flush() // or the length is announced, which rules trailers out over HTTP/1.1
	w.Header().Set("X-Length", strconv.FormatInt(attempt.Length, 10))
}

func (a *API) sendEvents(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprint(w, "data: one\n\n")
	_ = control.Flush()
	a.awaitRelease(r)
	_, _ = fmt.Fprint(w, "data: two\n\n")
}

func sendBytes(w http.ResponseWriter, count string) {
	n, err := strconv.Atoi(count)
	if err != nil {
		http.Error(w, "not a number", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", count)
	_, _ = w.Write(bytes.Repeat([]byte{'x'}, n))
}

// socket echoes every message, and accepts any origin.
var socket = websocket.Server{Handler: func(ws *websocket.Conn) {
	for {
		var message string
		if websocket.Message.Receive(ws, &message) != nil || websocket.Message.Send(ws, message) != nil {
			return
		}
	}
}}
