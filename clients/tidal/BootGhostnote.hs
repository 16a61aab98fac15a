-- ghostnote as a target of Tidal (1.9): put these lines into BootTidal.hs in place of the line that
-- begins with `tidal <- startStream`, or `:script` this file there. Not run by its makers, who have
-- no GHC; a test sends the same packets.
--
-- Tidal sends each event as a bundle with its time, `oLatency` ahead, to /ghost/trig:
--   role (s), velocity (f), voice (i)
--
--   d1 $ s "kick*4" # velocity 0.9
--   d2 $ s "~ snare ~ [snare clap]"
--   d3 $ s "hat*8" # velocity (range 0.3 0.8 rand) # voice 2
--   setcps (124/60/4)

:{
let voice = pI "voice"
    ghostTarget = Target { oName = "ghostnote"
                         , oAddress = "127.0.0.1"
                         , oPort = 9770
                         , oBusPort = Nothing
                         , oLatency = 0.1
                         , oWindow = Nothing
                         , oSchedule = Pre BundleStamp
                         , oHandshake = False
                         }
    ghostShape = OSC "/ghost/trig" $ ArgList [ ("s", Nothing)
                                             , ("velocity", Just $ VF 0.8)
                                             , ("voice", Just $ VI 1)
                                             ]
    -- Parameters: d1 $ temperature (range 0.4 1.2 sine)
    temperature = pF "temperature"
    ghostTemperature = OSC "/ghost/voice/*/temperature" $ ArgList [("temperature", Nothing)]
:}

tidal <- startStream (defaultConfig {cFrameTimespan = 1/20}) [(ghostTarget, [ghostShape, ghostTemperature]), (superdirtTarget, [superdirtShape])]
