// Redis for Argo CD's cache, in memory, without anything to install.
//
//	REDIS_PASSWORD=… redis 127.0.0.1:6379
package main

import (
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	// Without one, every user of the machine could change what Argo CD applies.
	password := os.Getenv("REDIS_PASSWORD")
	if password == "" {
		log.Fatal("REDIS_PASSWORD is not set")
	}
	server := miniredis.NewMiniRedis()
	server.RequireAuth(password)
	if err := server.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	// What has a time to live only ages when told to.
	for range time.Tick(time.Second) {
		server.FastForward(time.Second)
	}
}
