import axios from "axios";
import { WebSocketServer } from "ws";
import { Alpaca } from "@alpacahq/alpaca-trade-api-v4";
console.log(typeof axios.get, typeof WebSocketServer, typeof Alpaca);
