// Command client makes the requests of the section neighbour, paced or with full force, and
// prints what became of them as JSON.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"strings"
	"time"
)

// Result is what it prints.
type Result struct {
	Took     []time.Duration `json:"took,omitempty"` // of paced requests
	Statuses map[int]int     `json:"statuses"`
	Closed   int             `json:"closed"` // connections that ended before an answer
}

func main() {
	address := flag.String("address", "", "of the proxy")
	duration := flag.Duration("for", time.Second, "how long")
	rate := flag.Int("paced", 0, "so many requests a second, of the tenant quiet")
	kinds := flag.String("force", "", "kinds of force, with commas between them, of the tenant noisy")
	connections := flag.Int("connections", 64, "of each kind of force")
	token := flag.String("token", "", "of noisy, for the credentials API")
	flag.Parse()
	var result Result
	if *rate > 0 {
		result = paced(*address, *rate, *duration)
	} else {
		result = force(*address, strings.Split(*kinds, ","), *connections, *token, *duration)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}
