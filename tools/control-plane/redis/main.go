// Redis for Argo CD's cache, in memory, without anything to install.
//
//	redis 127.0.0.1:6379
package main

import (
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	// What has a time to live only ages when told to.
	for range time.Tick(time.Second) {
		server.FastForward(time.Second)
	}
}
